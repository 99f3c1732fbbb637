"""What a step of distillation computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dcde.base.recipe import Recipe
from dcde.distill.freeze import freeze
from dcde.distill.projections import Widened
from dcde.model.dcae import DCAE, Decoder, Tap, stage_taps
from dcde.train.learner import Batch
from dcde.train.losses import Prediction, need_image, need_teacher


class DistillTask:
    """Decode; compare features with the teacher's and images with the truth.

    Args:
        student: what trains: a decoder, which gets the teacher's latents, or the whole
            autoencoder, which gets the images.
        teacher: the decoder whose features and images are targets; None where no term asks for it.
        tap: where the feature term compares.
        stages: taps where the stream term compares.
        projections: for those where the student is narrower, see `Widened`.
    """

    def __init__(
        self,
        student: Decoder | DCAE,
        teacher: Decoder | None,
        tap: Tap,
        *,
        stages: Sequence[str] = (),
        projections: Mapping[str, nn.Conv2d] | None = None,
    ) -> None:
        self.module: nn.Module = Widened(student, projections) if projections else student
        self.reads = "image" if isinstance(student, DCAE) else "latent"
        self.teacher, self.tap, self.stages = teacher, tap, stages

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        if self.teacher is None:
            return Prediction(module(batch[self.reads]), batch["image"])
        taps = (self.tap, *self.stages)
        image, features = module(batch[self.reads], taps)
        # no_grad rather than inference_mode: the loss saves the target for the student's gradient
        with torch.no_grad():
            teacher_image, targets = self.teacher(batch["latent"], taps)
        return Prediction(
            image,
            batch["image"],
            feature=features[self.tap],
            teacher_feature=targets[self.tap],
            activations=tuple(features[stage] for stage in self.stages),
            teacher_activations=tuple(targets[stage] for stage in self.stages),
            teacher_image=teacher_image,
        )


def build_task(
    student: DCAE, teacher: Decoder, recipe: Recipe, projections: Mapping[str, nn.Conv2d]
) -> DistillTask:
    """What this recipe trains of the student, and with which targets; all else is frozen.

    Args:
        projections: for the stages that are narrower, see `narrow_stages`.
    """
    params, weights = recipe.distill, recipe.loss.weights()
    # What no term reaches may not train: several processes would wait for its gradient.
    reached = need_image(weights) or ("feature" in weights and params.tap == 0)
    freeze(
        student,
        encoder=params.freeze_encoder,
        project_out=params.freeze_project_out or not reached,
        checkpoint_activations=params.checkpoint_activations,
    )
    return DistillTask(
        student.decoder if params.freeze_encoder else student,
        teacher if need_teacher(weights) else None,
        params.tap,
        stages=stage_taps(student.config.decoder) if "stream" in weights else [],
        projections=projections,
    )
