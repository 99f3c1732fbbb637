"""Distillation: a pruned decoder learns to decode the teacher's latents as the teacher does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from torch.utils.data import DataLoader

from dcde.config import (
    CropParams,
    DistillParams,
    GanParams,
    LossParams,
    OptimizerParams,
    RuntimeParams,
)
from dcde.data import Photo, plan_epoch, random_crop
from dcde.devices import channels_last
from dcde.errors import UserError
from dcde.latents import LatentDataset, cache_latents
from dcde.losses import Prediction, build_terms, check_weights
from dcde.model import DCAE
from dcde.model.dcae import Tap
from dcde.runstate import run_key
from dcde.schedules import dynamic_weights
from dcde.trainer import Adversary, Batch, Trainer, make_accelerator


class DistillTask:
    """Decode cached latents; compare features with the teacher's and images with the truth.

    Args:
        student: its decoder is trained.
        teacher: its decoder's features are the target; None where no feature loss asks for it.
    """

    def __init__(self, student: DCAE, teacher: DCAE | None, tap: Tap) -> None:
        self.module: nn.Module = student.decoder
        self.teacher, self.tap = teacher, tap

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        latent = batch["latent"]
        if self.teacher is None:
            return Prediction(module(latent), batch["image"])
        image, features = module(latent, (self.tap,))
        # no_grad rather than inference_mode: the loss saves the target for the student's gradient
        with torch.no_grad():
            _, targets = self.teacher.decode(latent, (self.tap,))
        return Prediction(
            image, batch["image"], feature=features[self.tap], teacher_feature=targets[self.tap]
        )


def latent_loader(
    model: DCAE,
    photos: tuple[Photo, ...],
    crops: CropParams,
    *,
    crops_per_image: int,
    samples_per_epoch: int,
    epochs: int,
    batch_size: int,
    seed: int,
    workers: int,
    model_sha256: str,
    cache_dir: Path,
) -> Callable[[int, int], DataLoader[Batch]]:
    """Cache the latents of every crop that the run will draw; return what loads an epoch of them.

    The result maps (epoch, batches to skip) to batches; all draws come from the seed.
    """
    if crops.image_size % model.config.downsampling:
        raise UserError(
            f"distill.crops.image_size: found {crops.image_size}, "
            f"expected a multiple of {model.config.downsampling}"
        )
    plans = [
        plan_epoch(len(photos), samples_per_epoch, crops_per_image, seed, epoch)
        for epoch in range(epochs)
    ]
    # Ordered by photo, so that neighbouring crops come from one file.
    drawn = sorted({pair for plan in plans for pair in plan})
    row_of = {pair: row for row, pair in enumerate(drawn)}
    boxes = [random_crop(photos[p], crops, (seed, p, number)) for p, number in drawn]
    files = [Path(photos[p].path) for p in sorted({p for p, _ in drawn})]
    folder = cache_dir / run_key([model_sha256, *boxes], files)
    with PartialState().main_process_first():
        cache_latents(model, boxes, folder, batch_size=batch_size, workers=workers)

    def load(epoch: int, skip: int) -> DataLoader[Batch]:
        rows = [row_of[pair] for pair in plans[epoch][skip * batch_size :]]
        return DataLoader(
            LatentDataset(folder, rows), batch_size, num_workers=workers, drop_last=True
        )

    return load


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

    Args:
        on_epoch: called with the number of each finished epoch and the student as it is then.

    Raises:
        UserError: for parameters that do not fit the data or the model, before any long work.
    """
    check_weights(loss, ("feature", "image", "lpips", "gamma"))
    ours, theirs = (
        m.config.decoder.widths[m.config.decoder.first_stage] for m in (student, teacher)
    )
    if loss.get("feature") and params.tap != 0 and ours != theirs:
        raise UserError(
            f"distill.tap: found {params.tap}, where the student is {ours} channels wide and the "
            f"teacher {theirs}, expected 0 (the image), or loss.feature: 0"
        )
    samples = params.samples_per_epoch or len(photos)
    accelerator = make_accelerator(params.precision)
    device = accelerator.device
    channels_last(teacher, device).requires_grad_(False).eval()
    student.to(device).requires_grad_(False)
    student.decoder.requires_grad_(True)
    if params.freeze_project_out:
        student.decoder.project_out.requires_grad_(False)
    terms = build_terms(loss, lpips_weights, device)
    loader = latent_loader(
        teacher,
        photos,
        params.crops,
        crops_per_image=params.crops_per_image,
        samples_per_epoch=samples,
        epochs=params.epochs,
        batch_size=params.batch_size,
        seed=seed,
        workers=runtime.workers,
        model_sha256=teacher_sha256,
        cache_dir=cache_dir,
    )

    def weights_at(epoch: int) -> LossParams:
        if not params.dynamic_loss:
            return loss
        return dynamic_weights(loss, epoch, params.epochs, params.division_epoch)

    def epoch_done(epoch: int, decoder: nn.Module) -> None:
        shown = DCAE(student.config).to(device)
        shown.encoder = student.encoder
        shown.decoder.load_state_dict(decoder.state_dict())
        on_epoch(epoch, shown.eval())

    Trainer(
        DistillTask(student, teacher if loss.get("feature") else None, params.tap),
        accelerator=accelerator,
        terms=terms,
        weights_at=weights_at,
        loader=loader,
        samples_per_epoch=samples,
        train=params,
        optimizer=optimizer,
        adversary=Adversary(gan, optimizer_d) if loss.get("gamma") else None,
        runtime=runtime,
        state_dir=state_dir,
        seed=seed,
        on_epoch=epoch_done,
    ).run()
    student.eval()
