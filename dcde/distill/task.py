"""One step of distillation: which parameters train, and towards which targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import nn

from dcde.distill.projections import Widened
from dcde.model import DCAE, Decoder
from dcde.model.blocks import recompute_stages
from dcde.model.dcae import Tap, stage_taps
from dcde.params.pipeline import Params
from dcde.train.learner import Batch, Learner, build_learner
from dcde.train.losses import Prediction


class DistillTask:
    """Decode, and compare features with the teacher's and images with the photos.

    Args:
        student: a decoder, which gets the teacher's latents, or the whole autoencoder, which gets
            the images.
        teacher: provides target features and images; None if no loss term needs them.
        tap: where the feature term compares.
        stages: taps where the stream term compares.
        projections: for the stages where the student is narrower, see `Widened`.
    """

    def __init__(
        self,
        student: Decoder | DCAE,
        teacher: Decoder | None,
        tap: Tap,
        *,
        stages: Sequence[Tap] = (),
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


def distill_learner(
    student: DCAE,
    teacher: Decoder,
    params: Params,
    accelerator: Accelerator,
    lpips_metric: Callable[[], nn.Module],
    projections: Mapping[str, nn.Conv2d],
) -> Learner:
    """Return the learner that distills the student as the parameters say.

    Args:
        teacher: frozen, on the accelerator's device.
        lpips_metric: loads LPIPS onto the device; called only if a term needs it.
        projections: for the stages that are narrower, see `narrow_taps`.
    """
    freeze(student, params)
    task = DistillTask(
        student.decoder if params.distill.freeze_encoder else student,
        teacher if params.loss.needs("teacher") else None,
        params.distill.tap,
        stages=stage_taps(student.config.decoder) if params.loss.stream else [],
        projections=projections,
    )
    return build_learner(
        task,
        params.loss,
        params.distill,
        params.optimizer,
        accelerator,
        lpips_metric=lpips_metric,
        gan=(params.gan.ratio, "bce", params.optimizer_d),
        seed=params.seed,
    )


def freeze(student: DCAE, params: Params) -> None:
    """Freeze all of the student but its decoder and what else the parameters let train."""
    how = params.distill
    student.requires_grad_(False)
    student.decoder.requires_grad_(True)
    student.encoder.requires_grad_(not how.freeze_encoder)
    # Parameters that no term reaches must not train: several processes would wait for a gradient.
    reached = params.loss.needs("image") or (params.loss.feature and how.tap == "image")
    if how.freeze_project_out or not reached:
        student.decoder.project_out.requires_grad_(False)
    recompute_stages(student.decoder.stages, how.checkpoint_activations)


def deep_parameters(student: DCAE) -> list[nn.Parameter]:
    """Return the parameters that rest at first in segment training: all but the shallow half of the
    decoder's stages."""
    stages = [stage for stage in student.decoder.stages if list(stage.parameters())]
    shallow = {p for stage in stages[: len(stages) // 2] for p in stage.parameters()}
    return [p for p in student.parameters() if p not in shallow]
