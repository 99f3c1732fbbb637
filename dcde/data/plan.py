"""Which crops each epoch trains on, all drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcde.data.crops import Crop, random_crop
from dcde.data.folder import Photo
from dcde.params.training import CropParams


def plan_epoch(
    n_photos: int, samples: int, crops_per_image: int, seed: int, epoch: int
) -> list[tuple[int, int]]:
    """The (photo, crop number) pairs of an epoch: each photo equally often, in random order."""
    rng = np.random.default_rng([seed, epoch])
    rounds = -(-samples // n_photos)
    photos = np.concatenate([rng.permutation(n_photos) for _ in range(rounds)])[:samples]
    numbers = rng.integers(crops_per_image, size=samples)
    return [(int(p), int(c)) for p, c in zip(photos, numbers, strict=True)]


@dataclass(frozen=True)
class EpochPlan:
    """Which crops each epoch trains on, in order, all drawn from the seed.

    Args:
        crops_per_image: how many crops of a photo there are to draw from.
    """

    photos: tuple[Photo, ...]
    crop_params: CropParams
    samples: int
    crops_per_image: int
    seed: int

    def crops(self, epoch: int) -> list[Crop]:
        """The epoch's `samples` crops."""
        return [self._crop(*pair) for pair in self._pairs(epoch)]

    def distinct_crops(self, epochs: int) -> list[Crop]:
        """Every crop that the first `epochs` draw, once, those of a photo together."""
        pairs = {pair for epoch in range(epochs) for pair in self._pairs(epoch)}
        return list(dict.fromkeys(self._crop(*pair) for pair in sorted(pairs)))

    def _pairs(self, epoch: int) -> list[tuple[int, int]]:
        return plan_epoch(len(self.photos), self.samples, self.crops_per_image, self.seed, epoch)

    def _crop(self, photo: int, number: int) -> Crop:
        return random_crop(self.photos[photo], self.crop_params, (self.seed, photo, number))
