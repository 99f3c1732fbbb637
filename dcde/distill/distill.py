"""Distillation: a pruned decoder learns to decode the teacher's latents as the teacher does.

`distill` reads as the method: check, draw the crops, cache their latents, train, score each epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dcde.base.devices import channels_last, check_compiler, loader_workers
from dcde.base.processes import make_accelerator
from dcde.base.say import say
from dcde.data.folder import Photo
from dcde.distill.latents import cached_crops
from dcde.distill.plan import check_models, draw_crops, plan_run
from dcde.distill.projections import Widened, fit_projections, narrow_taps
from dcde.distill.task import deep_parameters, distill_learner
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.model.fold import fold_norms
from dcde.params.pipeline import Params
from dcde.train.learner import Batch
from dcde.train.schedules import dynamic_weights
from dcde.train.scores import mean_scores
from dcde.train.trainer import Trainer

PROJECTION_CROPS = 16
"""Training crops that projections of narrow features are first fitted on."""


def distill(
    student: DCAE,
    teacher: DCAE,
    photos: tuple[Photo, ...],
    params: Params,
    *,
    lpips_weights: Path,
    state_dir: Path,
    cache_dir: Path,
    on_epoch: Callable[[int, DCAE], None],
) -> None:
    """Train the student in place, continuing an unfinished run in `state_dir`.

    With several processes, the main one's student is the result.

    Args:
        photos: to train on, a few of them held out to score each epoch.
        cache_dir: where latents are kept for later runs with the same crops.
        on_epoch: called with the number of each finished epoch and the student at that point.

    Raises:
        UserError: for parameters that do not fit the data or the models, before any long work.
    """
    how = params.distill
    check_models(student.config, teacher.config, params)
    accelerator = make_accelerator(how.precision)
    plan = plan_run(len(photos), how, processes=accelerator.num_processes)
    if how.compile:
        check_compiler("distill.compile")
    training, validation = draw_crops(photos, plan, how, params.seed)
    say(
        f"{plan.steps} steps on {how.batch_size * how.accumulation_steps} crops of "
        f"{how.crops.image_size} px each, in {how.epochs} epochs, and {len(validation)} crops to "
        "validate on after each"
    )
    if not how.freeze_encoder:
        say(
            "warning: distill.freeze_encoder is false, so the student's latents will differ from "
            "the teacher's: diffusion models made for the teacher won't fit it"
        )

    device, workers = accelerator.device, loader_workers(params.runtime.workers)
    channels_last(teacher, device).requires_grad_(False).eval()
    student.to(device)

    @cache
    def lpips_metric() -> nn.Module:
        return load_lpips(lpips_weights).to(device)

    cached = partial(
        cached_crops, teacher, batch_size=how.batch_size, workers=workers, cache_dir=cache_dir
    )
    held_out = cached(validation, keep_pixels=True)(validation) if validation else None
    dataset = cached(training.distinct_crops(how.epochs), keep_pixels=plan.keep_pixels)

    projections: dict[str, nn.Conv2d] = {}
    if narrow := narrow_taps(student.config, teacher.config, params.loss):
        few = DataLoader(dataset(training.crops(0)[:PROJECTION_CROPS]), how.batch_size)
        latents = (batch["latent"].to(device) for batch in few)
        projections = fit_projections(student.decoder, teacher.decoder, latents, narrow)

    def weights_at(epoch: int) -> Mapping[str, float]:
        if not how.dynamic_loss:
            return params.loss.weights()
        return dynamic_weights(params.loss, epoch, how.epochs, how.division_epoch)

    def epoch_done(epoch: int, module: nn.Module) -> Mapping[str, float]:
        shown = _student_with(student, module, device)
        on_epoch(epoch, shown)
        if held_out is None:
            return {}

        def reconstruct(batch: Batch) -> Tensor:
            own = not how.freeze_encoder
            return shown.decode(shown.encode(batch["image"]) if own else batch["latent"])

        return mean_scores(reconstruct, held_out, lpips_metric(), how.batch_size)

    deep = deep_parameters(student)
    learner = distill_learner(
        student,
        fold_norms(teacher.decoder),
        params,
        accelerator,
        lpips_metric,
        projections,
    )
    Trainer(
        learner,
        how,
        weights_at=weights_at,
        plan=training,
        dataset=dataset,
        workers=workers,
        state_dir=state_dir,
        on_epoch=epoch_done,
        resting=lambda epoch: deep if epoch < how.shallow_epochs else (),
    ).run()
    student.eval()


def _student_with(student: DCAE, trained: nn.Module, device: torch.device) -> DCAE:
    """Return a copy of the student with these weights: its decoder's or the whole student's."""
    shown = DCAE(student.config).to(device).eval()
    if isinstance(trained, Widened):
        trained = trained.student
    if isinstance(trained, DCAE):
        shown.load_state_dict(trained.state_dict())
    else:
        shown.encoder = student.encoder
        shown.decoder.load_state_dict(trained.state_dict())
    return shown
