"""Plan the crops that each epoch trains on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcde.data.crops import Crop, random_crop
from dcde.data.folder import Photo
from dcde.params.training import CropParams


@dataclass(frozen=True)
class EpochPlan:
    """The crops of each epoch, in order, all drawn from the seed.

    Args:
        samples: crops of an epoch.
        crops_per_image: distinct crops of a photo to draw from.
    """

    photos: tuple[Photo, ...]
    crop_params: CropParams
    samples: int
    crops_per_image: int
    seed: int

    def crops(self, epoch: int) -> list[Crop]:
        """Return an epoch's crops: each photo equally often, in random order."""
        return [self._crop(*pair) for pair in self._pairs(epoch)]

    def distinct_crops(self, epochs: int) -> list[Crop]:
        """Return every crop of the first `epochs` once, those of a photo together."""
        pairs = {pair for epoch in range(epochs) for pair in self._pairs(epoch)}
        return list(dict.fromkeys(self._crop(*pair) for pair in sorted(pairs)))

    def _pairs(self, epoch: int) -> list[tuple[int, int]]:
        """Return the photo and the number of each crop."""
        rng, n = np.random.default_rng([self.seed, epoch]), len(self.photos)
        rounds = -(-self.samples // n)
        photos = np.concatenate([rng.permutation(n) for _ in range(rounds)])[: self.samples]
        numbers = rng.integers(self.crops_per_image, size=self.samples)
        return [(int(p), int(c)) for p, c in zip(photos, numbers, strict=True)]

    def _crop(self, photo: int, number: int) -> Crop:
        return random_crop(self.photos[photo], self.crop_params, (self.seed, photo, number))
