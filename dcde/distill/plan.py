"""What a distillation trains on and what it is measured on meanwhile, all drawn from the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dcde.base.errors import UserError
from dcde.base.recipe import DistillParams
from dcde.data.crops import Crop, random_crop
from dcde.data.folder import Photo
from dcde.data.plan import EpochPlan
from dcde.data.spread import spread

CROPS_OF_A_PHOTO = 16
"""Validation crops of each held-out photo, where `crops_per_image` allows as many."""


@dataclass(frozen=True)
class CropPlan:
    """The crops of a whole distillation."""

    training: EpochPlan
    validation: tuple[Crop, ...]


def plan_crops(photos: tuple[Photo, ...], params: DistillParams, seed: int) -> CropPlan:
    """Draw the crops of every epoch, and those of the photos that are held out.

    Raises:
        UserError: if holding out leaves no photo to train on.
    """
    training, held_out = hold_out(photos, params.validation_photos)
    plan = EpochPlan(
        training,
        params.crops,
        samples=params.samples_per_epoch or len(training),
        crops_per_image=params.crops_per_image,
        seed=seed,
    )
    validation = tuple(
        random_crop(photo, params.crops, (seed, i, number))
        for i, photo in enumerate(held_out)
        for number in range(min(params.crops_per_image, CROPS_OF_A_PHOTO))
    )
    return CropPlan(plan, validation)


def training_steps(params: DistillParams, samples: int) -> int:
    """Steps of the optimizer in the whole run, with so many samples in each epoch."""
    batches = samples // params.batch_size
    return params.epochs * math.ceil(batches / params.accumulation_steps)


def hold_out(photos: tuple[Photo, ...], count: int) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Split photos into those to train on and `count`, at even intervals, to validate on.

    Raises:
        UserError: if none is left to train on.
    """
    check_held_out(count, len(photos))
    held = dict.fromkeys(spread(photos, count) if count else ())
    return tuple(photo for photo in photos if photo not in held), tuple(held)


def check_held_out(count: int, photos: int) -> None:
    """Refuse to hold out all of the training photos.

    Raises:
        UserError: with how many there are.
    """
    if count >= photos:
        raise UserError(
            f"distill.validation_photos: found {count}, "
            f"expected less than the {photos} training photos"
        )
