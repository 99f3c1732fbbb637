"""What takes a step of distillation, with nothing around it: to count it, or to time it."""

from __future__ import annotations

from collections.abc import Callable

from accelerate import Accelerator
from torch import nn

from dcde.base.recipe import Recipe
from dcde.distill.projections import narrow_stages
from dcde.distill.task import build_task
from dcde.model import DCAE
from dcde.train.adversary import Adversary
from dcde.train.learner import Learner
from dcde.train.losses import build_terms


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
    weights = recipe.loss.weights()
    teacher.requires_grad_(False).eval()
    adversary = None
    if "gamma" in weights:
        adversary = Adversary(recipe.gan, recipe.optimizer_d, accelerator)
    ours, theirs = student.config.decoder, teacher.config.decoder
    projections = {
        f"stage{i}": nn.Conv2d(ours.widths[i], theirs.widths[i], 1, bias=False)
        for i in narrow_stages(student.config, teacher.config, weights)
    }
    learner = Learner(
        build_task(student, teacher.decoder, recipe, projections),
        accelerator=accelerator,
        terms=build_terms(weights, lpips_metric),
        train=recipe.distill,
        optimizer=recipe.optimizer,
        adversary=adversary,
    )
    return learner, adversary
