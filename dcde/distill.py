"""Distillation: a pruned decoder learns to decode the teacher's latents as the teacher does.

The encoder is frozen and shared, so its latents are computed once; see `dcde.latents`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn

from dcde.checkpoint import load_model
from dcde.config import (
    DistillParams,
    GanParams,
    LossParams,
    OptimizerParams,
    RuntimeParams,
)
from dcde.data import Crop, EpochPlan, Photo, random_crop
from dcde.devices import channels_last
from dcde.errors import UserError
from dcde.latents import LatentDataset, cache_latents
from dcde.learner import Batch
from dcde.losses import TEACHER_ONLY, Prediction, build_terms, check_weights
from dcde.model import DCAE
from dcde.model.blocks import OpSequential
from dcde.model.dcae import Decoder, Tap
from dcde.model.fold import fold_norms
from dcde.perceptual import load_lpips
from dcde.processes import check_batch_size, make_accelerator
from dcde.runstate import run_key
from dcde.schedules import dynamic_weights
from dcde.trainer import Trainer
from dcde.validation import BEST, CROPS_OF_A_PHOTO, Validation, hold_out, keep_student


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


def cached_crops(
    model: DCAE,
    crops: Sequence[Crop],
    *,
    batch_size: int,
    workers: int,
    model_sha256: str,
    cache_dir: Path,
) -> Callable[[Sequence[Crop]], LatentDataset]:
    """Cache the latents of these crops; return what makes a dataset of some of them."""
    files = [Path(path) for path in sorted({crop.path for crop in crops})]
    folder = cache_dir / run_key([model_sha256, *crops], files)
    with PartialState().main_process_first():
        cache_latents(model, crops, folder, batch_size=batch_size, workers=workers)
    row_of = {crop: row for row, crop in enumerate(crops)}
    return lambda chosen: LatentDataset(folder, [row_of[crop] for crop in chosen])


def deep_parameters(
    decoder: Decoder, shallow_stages: tuple[int, ...] | None
) -> Collection[nn.Parameter]:
    """All parameters outside of the shallow stages; by default, the half at the highest resolution.

    Raises:
        UserError: for a stage that the decoder does not have.
    """
    present = [i for i, stage in enumerate(decoder.stages) if list(stage.parameters())]
    shallow = present[: len(present) // 2] if shallow_stages is None else shallow_stages
    for stage in shallow:
        if stage not in present:
            raise UserError(
                f"distill.shallow_stages: found {stage}, expected some of the decoder's {present}"
            )
    training = {p for i in shallow for p in decoder.stages[i].parameters()}
    return [p for p in decoder.parameters() if p not in training]


def distill(
    student: DCAE,
    teacher: DCAE,
    photos: tuple[Photo, ...],
    *,
    params: DistillParams,
    loss: LossParams,
    gan: GanParams,
    optimizer: OptimizerParams,
    optimizer_d: OptimizerParams,
    runtime: RuntimeParams,
    seed: int,
    lpips_weights: Path,
    teacher_sha256: str,
    state_dir: Path,
    cache_dir: Path,
    on_epoch: Callable[[int, DCAE], None],
) -> None:
    """Train the student's decoder in place, continuing an unfinished run in `state_dir`.

    With several processes, the main one's student is the result.

    Args:
        on_epoch: called with the number of each finished epoch and the student as it is then.

    Raises:
        UserError: for parameters that do not fit the data or the model, before any long work.
    """
    check_weights(loss, without=TEACHER_ONLY)
    loss = {name: weight for name, weight in loss.items() if weight}
    ours, theirs = (
        m.config.decoder.widths[m.config.decoder.first_stage] for m in (student, teacher)
    )
    if loss.get("feature") and params.tap != 0 and ours != theirs:
        raise UserError(
            f"distill.tap: found {params.tap}, where the student is {ours} channels wide and the "
            f"teacher {theirs}, expected 0 (the image), or loss.feature: 0"
        )
    if params.crops.image_size % teacher.config.downsampling:
        raise UserError(
            f"distill.crops.image_size: found {params.crops.image_size}, "
            f"expected a multiple of {teacher.config.downsampling}"
        )
    training, held_out = hold_out(photos, params.validation_photos)
    plan = EpochPlan(
        training,
        params.crops,
        samples=params.samples_per_epoch or len(training),
        crops_per_image=params.crops_per_image,
        seed=seed,
    )
    validation_crops = [
        random_crop(photo, params.crops, (seed, i, number))
        for i, photo in enumerate(held_out)
        for number in range(min(params.crops_per_image, CROPS_OF_A_PHOTO))
    ]
    deep = deep_parameters(student.decoder, params.shallow_stages)
    accelerator = make_accelerator(params.precision)
    check_batch_size(params.batch_size, plan.samples, accelerator)
    device = accelerator.device
    channels_last(teacher, device).requires_grad_(False).eval()
    student.to(device).requires_grad_(False)
    student.decoder.requires_grad_(True)
    if params.freeze_project_out:
        student.decoder.project_out.requires_grad_(False)
    for stage in student.decoder.stages:
        assert isinstance(stage, OpSequential)
        stage.recompute = params.checkpoint_activations
    terms = build_terms(loss, lpips_weights, device)
    caching = partial(
        cached_crops,
        teacher,
        batch_size=params.batch_size,
        workers=runtime.workers,
        model_sha256=teacher_sha256,
        cache_dir=cache_dir,
    )
    validate: Callable[[DCAE], Mapping[str, float]] = (
        Validation(
            caching(validation_crops)(validation_crops),
            load_lpips(lpips_weights).to(device),
            params.batch_size,
        )
        if validation_crops
        else lambda student: {}
    )

    def weights_at(epoch: int) -> Mapping[str, float]:
        if not params.dynamic_loss:
            return loss
        return dynamic_weights(loss, epoch, params.epochs, params.division_epoch)

    def epoch_done(epoch: int, decoder: nn.Module) -> Mapping[str, float]:
        shown = DCAE(student.config).to(device).eval()
        shown.encoder = student.encoder
        shown.decoder.load_state_dict(decoder.state_dict())
        on_epoch(epoch, shown)
        scores = validate(shown)
        keep_student(shown, scores, state_dir)
        return scores

    Trainer(
        DistillTask(
            student.decoder,
            fold_norms(teacher.decoder) if "feature" in loss else None,
            params.tap,
        ),
        accelerator=accelerator,
        terms=terms,
        weights_at=weights_at,
        plan=plan,
        dataset=caching(plan.distinct_crops(params.epochs)),
        train=params,
        optimizer=optimizer,
        adversary=(gan, optimizer_d) if "gamma" in loss else None,
        runtime=runtime,
        state_dir=state_dir,
        seed=seed,
        on_epoch=epoch_done,
        resting=lambda epoch: deep if epoch < params.shallow_epochs else (),
    ).run()
    if params.select == "best" and accelerator.is_main_process:
        student.decoder.load_state_dict(load_model(state_dir / BEST).decoder.state_dict())
    student.eval()
