"""What a step of distillation computes."""

from __future__ import annotations

import torch
from torch import nn

from dcde.model.dcae import DCAE, Decoder, Tap
from dcde.train.learner import Batch
from dcde.train.losses import Prediction


class DistillTask:
    """Decode; compare features with the teacher's and images with the truth.

    Args:
        student: what trains: a decoder, which gets the teacher's latents, or the whole
            autoencoder, which gets the images.
        teacher: the decoder whose features are the target; None where no feature loss asks for it.
    """

    def __init__(self, student: Decoder | DCAE, teacher: Decoder | None, tap: Tap) -> None:
        self.module: nn.Module = student
        self.reads = "image" if isinstance(student, DCAE) else "latent"
        self.teacher, self.tap = teacher, tap

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        if self.teacher is None:
            return Prediction(module(batch[self.reads]), batch["image"])
        image, features = module(batch[self.reads], (self.tap,))
        # no_grad rather than inference_mode: the loss saves the target for the student's gradient
        with torch.no_grad():
            _, targets = self.teacher(batch["latent"], (self.tap,))
        return Prediction(
            image, batch["image"], feature=features[self.tap], teacher_feature=targets[self.tap]
        )
