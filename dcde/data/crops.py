"""Square crops of photos: drawn from a seed or fixed, and cut as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.data.pixels import to_model_range, to_rgb
from dcde.params.training import CropParams


class Crop(NamedTuple):
    """A square of a photo: resize so that the shorter side is `short`, then cut at (x, y)."""

    path: str
    short: int
    x: int
    y: int
    size: int
    flip: bool = False

    @property
    def name(self) -> str:
        """Name the file and the place in it, for people."""
        return f"{Path(self.path).name} at ({self.x}, {self.y}) of {self.short} px"


def random_crop(photo: Photo, params: CropParams, seed: Sequence[int]) -> Crop:
    """Draw a crop from the seed alone: its scale, then its position, then whether it is flipped."""
    rng = np.random.default_rng(seed)
    low, high = params.short_side
    native = min(photo.width, photo.height)
    short = int(rng.integers(min(low, native), min(high, native), endpoint=True))
    short = max(short, params.image_size)  # photos smaller than a crop are enlarged
    width, height = resized(photo, short)
    x = int(rng.integers(0, width - params.image_size, endpoint=True))
    y = int(rng.integers(0, height - params.image_size, endpoint=True))
    flip = bool(rng.integers(2)) and params.flip
    return Crop(photo.path, short, x, y, params.image_size, flip)


def eval_crops(photo: Photo, size: int, count: int) -> list[Crop]:
    """Return fixed crops for evaluation: first ADM's center crop of the whole photo.

    The others are the corners at up to twice that scale, if the photo has the pixels.
    """
    width, height = resized(photo, size)
    crops = [Crop(photo.path, size, (width - size) // 2, (height - size) // 2, size)]
    short = min(2 * size, max(size, min(photo.width, photo.height)))
    width, height = resized(photo, short)
    corners = [(0, 0), (width - size, height - size), (width - size, 0), (0, height - size)]
    crops += [Crop(photo.path, short, x, y, size) for x, y in corners[: count - 1]]
    return list(dict.fromkeys(crops))


def resized(photo: Photo, short: int) -> tuple[int, int]:
    """Return width and height of the photo with its shorter side at `short` pixels."""
    width, height = photo.width, photo.height
    while min(width, height) >= 2 * short:
        width, height = width // 2, height // 2
    scale = short / min(width, height)
    return round(width * scale), round(height * scale)


def _resize(image: Image.Image, size: tuple[int, int], short: int) -> Image.Image:
    """Resize by ADM's rule (Dhariwal and Nichol, arXiv 2105.05233), as the DC-AE authors do.

    Halve by averaging while the shorter side is at least twice too long, then bicubic.
    """
    while min(image.size) >= 2 * short:
        half = (image.width // 2, image.height // 2)
        image = image.resize(half, Image.Resampling.BOX)
    return image.resize(size, Image.Resampling.BICUBIC)


def load_crop(crop: Crop, *, draft: bool = False) -> Tensor:
    """Return the crop's pixels, (3, size, size) uint8.

    Args:
        draft: decode a JPEG that is far larger than needed at a fraction of its size: several
            times faster, with slightly different pixels.

    Raises:
        UserError: if the file can't be read any more.
    """
    try:
        with Image.open(crop.path) as image:
            size = resized(Photo(crop.path, *image.size), crop.short)
            if draft:
                image.draft("RGB", size)
            # EXIF rotation is ignored, as in all published figures on ImageNet.
            rgb = _resize(to_rgb(image), size, crop.short)
    except OSError as error:
        raise UserError(f"{crop.path}: can't be read any more ({error})") from None
    box = (crop.x, crop.y, crop.x + crop.size, crop.y + crop.size)
    pixels = np.array(rgb.crop(box))
    if crop.flip:
        pixels = pixels[:, ::-1].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class CropDataset(Dataset[dict[str, Tensor]]):
    """Crops as {"pixels": (3, size, size) uint8}; see `load_crop` for `draft`."""

    def __init__(self, crops: Sequence[Crop], *, draft: bool = False) -> None:
        self.crops, self.draft = crops, draft

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixels": load_crop(self.crops[index], draft=self.draft)}


def load_images(photos: Sequence[Photo], size: int) -> Tensor:
    """Return the center crop of each photo, (B, 3, size, size) in [-1, 1]."""
    return to_model_range(torch.stack([load_crop(eval_crops(p, size, 1)[0]) for p in photos]))
