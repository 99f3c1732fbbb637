"""The plan of a distillation: how much it trains on, and the crops themselves, from the seed.

`dcde check` and `distill` both read it, so the one announces what the other does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dcde.base.errors import UserError
from dcde.base.processes import check_batch_size
from dcde.data.crops import Crop, random_crop
from dcde.data.folder import Photo
from dcde.data.plan import EpochPlan
from dcde.data.spread import spread
from dcde.model import DCAEConfig
from dcde.params.pipeline import DistillParams, Params

CROPS_OF_A_PHOTO = 16
"""Validation crops of each held-out photo, if `crops_per_image` allows as many."""


@dataclass(frozen=True)
class Plan:
    """The size of a distillation, known from the number of photos alone."""

    photos: int
    """Photos to train on, without those held out."""
    samples: int
    """Crops per epoch."""
    steps: int
    """Optimizer steps in all."""
    crops: int
    """Distinct crops in all, at most."""
    keep_pixels: bool
    """Cache pixels too, not only latents. They take 24 times the room of f32c32's latents, so this
    pays only if crops are drawn twice or more."""


def plan_run(photos: int, params: DistillParams, *, processes: int) -> Plan:
    """Plan a run on so many training photos.

    Raises:
        UserError: if holding out leaves no photo to train on, or batches don't fit.
    """
    left = photos - params.validation_photos
    if left <= 0:
        raise UserError(
            f"distill.validation_photos: found {params.validation_photos}, "
            f"expected less than the {photos} training photos"
        )
    samples = params.samples_per_epoch or left
    check_batch_size("distill.batch_size", params.batch_size, samples, processes)
    steps_per_epoch = math.ceil(samples // params.batch_size / params.accumulation_steps)
    draws = samples * params.epochs
    crops = min(draws, left * params.crops_per_image)
    return Plan(left, samples, params.epochs * steps_per_epoch, crops, draws >= 2 * crops)


def check_models(student: DCAEConfig, teacher: DCAEConfig, params: Params) -> None:
    """Reject a loss or a crop size that these models don't allow.

    Raises:
        UserError: naming the parameter.
    """
    finest = [m.decoder.first_stage for m in (student, teacher)]
    if params.distill.freeze_project_out and finest[0] != finest[1]:
        raise UserError(
            "distill.freeze_project_out: found true, expected false where prune.depth_list drops "
            "the finest stage: the output layer is a new one"
        )
    ours, theirs = (m.decoder.widths[m.decoder.first_stage] for m in (student, teacher))
    tap = params.distill.tap
    same = ours == theirs and finest[0] == finest[1]
    if "feature" in params.loss.weights() and tap != "image" and not same:
        raise UserError(
            f"distill.tap: found {tap!r}, where the student is {ours} channels wide and the "
            f"teacher {theirs}, so that their features can't be compared: expected 'image', "
            "or loss.feature: 0 (loss.stream compares features of other widths too)"
        )
    teacher.check_image_size("distill.crops.image_size", params.distill.crops.image_size)


def draw_crops(
    photos: tuple[Photo, ...], plan: Plan, params: DistillParams, seed: int
) -> tuple[EpochPlan, list[Crop]]:
    """Draw the crops of every epoch, and those of the photos that are held out to validate on."""
    held_out = dict.fromkeys(
        spread(photos, params.validation_photos) if params.validation_photos else ()
    )
    training = EpochPlan(
        tuple(photo for photo in photos if photo not in held_out),
        params.crops,
        samples=plan.samples,
        crops_per_image=params.crops_per_image,
        seed=seed,
    )
    validation = [
        random_crop(photo, params.crops, (seed, i, number))
        for i, photo in enumerate(held_out)
        for number in range(min(params.crops_per_image, CROPS_OF_A_PHOTO))
    ]
    return training, validation
