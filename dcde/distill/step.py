"""What takes a step of distillation, with nothing around it: to count it, or to time it."""

from __future__ import annotations

from collections.abc import Callable

from accelerate import Accelerator
from torch import nn

from dcde.base.recipe import Recipe
from dcde.distill.freeze import freeze
from dcde.distill.task import DistillTask
from dcde.model import DCAE
from dcde.model.dcae import stage_taps
from dcde.train.adversary import Adversary
from dcde.train.learner import Learner
from dcde.train.losses import build_terms, need_teacher


def step_of(
    student: DCAE,
    teacher: DCAE,
    recipe: Recipe,
    accelerator: Accelerator,
    lpips_metric: Callable[[], nn.Module],
) -> tuple[Learner, Adversary | None]:
    """The learner, and the discriminator where there is a GAN, as `distill` has them.

    Projections of narrow features have random weights.
    """
    params, weights = recipe.distill, recipe.loss.weights()
    teacher.requires_grad_(False).eval()
    freeze(
        student,
        encoder=params.freeze_encoder,
        project_out=params.freeze_project_out,
        checkpoint_activations=params.checkpoint_activations,
    )
    adversary = None
    if "gamma" in weights:
        adversary = Adversary(recipe.gan, recipe.optimizer_d, accelerator)
    ours, theirs = student.config.decoder, teacher.config.decoder
    stages = stage_taps(ours) if "stream" in weights else []
    projections = {
        f"stage{i}": nn.Conv2d(ours.widths[i], theirs.widths[i], 1, bias=False)
        for i in ours.narrower_than(theirs)
        if stages
    }
    task = DistillTask(
        student.decoder if params.freeze_encoder else student,
        teacher.decoder if need_teacher(weights) else None,
        params.tap,
        stages=stages,
        projections=projections,
    )
    learner = Learner(
        task,
        accelerator=accelerator,
        terms=build_terms(weights, lpips_metric),
        train=params,
        optimizer=recipe.optimizer,
        adversary=adversary,
    )
    return learner, adversary
