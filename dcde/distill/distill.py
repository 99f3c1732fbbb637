"""Distillation: a pruned decoder learns to decode the teacher's latents as the teacher does.

`distill` reads as the method: check, plan the crops, cache their latents, train, choose an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcde.base.devices import channels_last, check_compiler
from dcde.base.errors import UserError
from dcde.base.processes import check_batch_size, make_accelerator
from dcde.base.recipe import DistillParams, Recipe
from dcde.base.say import say
from dcde.data.folder import Photo
from dcde.distill.freeze import deep_parameters
from dcde.distill.latents import cached_crops, drawn_again
from dcde.distill.plan import plan_crops, training_steps
from dcde.distill.projections import Widened, fit_projections, narrow_stages
from dcde.distill.task import build_task
from dcde.distill.validation import BEST, Validation, keep_student
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE, DCAEConfig
from dcde.model.checkpoint import read_model
from dcde.model.fold import fold_norms
from dcde.train.losses import build_terms
from dcde.train.schedules import dynamic_weights
from dcde.train.trainer import Trainer

PROJECTION_CROPS = 16
"""Training crops that projections of narrow features are first fitted on."""


def distill(
    student: DCAE,
    teacher: DCAE,
    photos: tuple[Photo, ...],
    recipe: Recipe,
    *,
    lpips_weights: Path,
    state_dir: Path,
    cache_dir: Path,
    on_epoch: Callable[[int, DCAE], None],
) -> None:
    """Train the student in place, continuing an unfinished run in `state_dir`.

    With several processes, the main one's student is the result.

    Args:
        photos: to train on, a few of them held out to measure each epoch.
        cache_dir: where the latents are kept for later runs with the same crops.
        on_epoch: called with the number of each finished epoch and the student as it is then.

    Raises:
        UserError: for parameters that do not fit the data or the model, before any long work.
    """
    params, weights = recipe.distill, recipe.loss.weights()
    check_fit(student.config, teacher.config, params, features="feature" in weights)
    deep = [
        *deep_parameters(student.decoder, params.shallow_stages),
        *student.encoder.parameters(),
    ]
    plan = plan_crops(photos, params, recipe.seed)
    accelerator = make_accelerator(params.precision)
    samples, processes = plan.training.samples, accelerator.num_processes
    check_batch_size("distill.batch_size", params.batch_size, samples, processes)
    if params.compile:
        check_compiler("distill.compile")

    say(
        f"{training_steps(params, samples)} steps on "
        f"{params.batch_size * params.accumulation_steps} crops of "
        f"{params.crops.image_size} px each, in {params.epochs} epochs, and {len(plan.validation)} "
        "crops to validate on after each"
    )
    if accelerator.is_main_process and not params.freeze_encoder:
        tqdm.write(
            "warning: distill.freeze_encoder is false, so that the student's latents become other "
            "ones than the teacher's: no diffusion model that was made for the teacher fits it"
        )

    device = accelerator.device
    channels_last(teacher, device).requires_grad_(False).eval()
    student.to(device)
    cached = partial(
        cached_crops,
        teacher,
        batch_size=params.batch_size,
        workers=recipe.runtime.loader_workers(),
        cache_dir=cache_dir,
    )
    validate: Callable[[DCAE], Mapping[str, float]] = (
        Validation(
            cached(plan.validation, keep_pixels=True)(plan.validation),
            load_lpips(lpips_weights).to(device),
            params.batch_size,
            encode=not params.freeze_encoder,
        )
        if plan.validation
        else lambda student: {}
    )

    def weights_at(epoch: int) -> Mapping[str, float]:
        if not params.dynamic_loss:
            return weights
        return dynamic_weights(weights, epoch, params.epochs, params.division_epoch)

    drawn = plan.training.distinct_crops(params.epochs)
    draws = params.epochs * plan.training.samples
    dataset = cached(drawn, keep_pixels=drawn_again(draws, len(drawn)))
    projections: dict[str, nn.Conv2d] = {}
    if narrow := narrow_stages(student.config, teacher.config, weights):
        taps = [f"stage{i}" for i in narrow]
        few = DataLoader(dataset(plan.training.crops(0)[:PROJECTION_CROPS]), params.batch_size)
        latents = (batch["latent"].to(device) for batch in few)
        projections = fit_projections(student.decoder, teacher.decoder, latents, taps)

    def epoch_done(epoch: int, module: nn.Module) -> Mapping[str, float]:
        shown = _student_with(student, module, device)
        on_epoch(epoch, shown)
        scores = validate(shown)
        keep_student(shown, scores, state_dir)
        return scores

    Trainer(
        build_task(student, fold_norms(teacher.decoder), recipe, projections),
        accelerator=accelerator,
        terms=build_terms(weights, lambda: load_lpips(lpips_weights).to(device)),
        weights_at=weights_at,
        plan=plan.training,
        dataset=dataset,
        train=params,
        optimizer=recipe.optimizer,
        adversary=(recipe.gan, recipe.optimizer_d) if "gamma" in weights else None,
        runtime=recipe.runtime,
        state_dir=state_dir,
        seed=recipe.seed,
        on_epoch=epoch_done,
        resting=lambda epoch: deep if epoch < params.shallow_epochs else (),
    ).run()

    if params.select == "best" and accelerator.is_main_process:
        student.load_state_dict(read_model(state_dir / BEST).state_dict())
    student.eval()


def check_fit(
    student: DCAEConfig, teacher: DCAEConfig, params: DistillParams, *, features: bool
) -> None:
    """Refuse parameters that do not fit these models.

    Args:
        features: whether the loss compares features.

    Raises:
        UserError: naming the parameter.
    """
    ours, theirs = (m.decoder.widths[m.decoder.first_stage] for m in (student, teacher))
    if features and params.tap != 0 and ours != theirs:
        raise UserError(
            f"distill.tap: found {params.tap}, where the student is {ours} channels wide and the "
            f"teacher {theirs}, so that their features can't be compared: expected 0 (the image), "
            "or loss.feature: 0 (loss.stream compares features of other widths too)"
        )
    teacher.check_image_size("distill.crops.image_size", params.crops.image_size)


def _student_with(student: DCAE, trained: nn.Module, device: torch.device) -> DCAE:
    """A copy of the student with these weights, which are a whole student's or its decoder's."""
    shown = DCAE(student.config).to(device).eval()
    if isinstance(trained, Widened):
        trained = trained.student
    if isinstance(trained, DCAE):
        shown.load_state_dict(trained.state_dict())
    else:
        shown.encoder = student.encoder
        shown.decoder.load_state_dict(trained.state_dict())
    return shown
