"""What a step of distillation computes."""

from __future__ import annotations

import torch
from torch import nn

from dcde.model.dcae import Decoder, Tap
from dcde.train.learner import Batch
from dcde.train.losses import Prediction


class DistillTask:
    """Decode cached latents; compare features with the teacher's and images with the truth.

    Args:
        student: the decoder to train.
        teacher: the decoder whose features are the target; None where no feature loss asks for it.
    """

    def __init__(self, student: Decoder, teacher: Decoder | None, tap: Tap) -> None:
        self.module: nn.Module = student
        self.teacher, self.tap = teacher, tap

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        latent = batch["latent"]
        if self.teacher is None:
            return Prediction(module(latent), batch["image"])
        image, features = module(latent, (self.tap,))
        # no_grad rather than inference_mode: the loss saves the target for the student's gradient
        with torch.no_grad():
            _, targets = self.teacher(latent, (self.tap,))
        return Prediction(
            image, batch["image"], feature=features[self.tap], teacher_feature=targets[self.tap]
        )
