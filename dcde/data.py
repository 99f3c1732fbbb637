"""Images from folders: finding and checking them, crops drawn from a seed, tensors in [-1, 1]."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dcde.config import CropParams
from dcde.errors import UserError
from dcde.images import to_rgb

T = TypeVar("T")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Photo:
    """An image file that was read in full once, with its size in pixels."""

    path: str
    width: int
    height: int


@dataclass(frozen=True)
class Crop:
    """A square of a photo: resize so that the shorter side is `short`, then cut at (x, y)."""

    path: str
    short: int
    x: int
    y: int
    size: int
    flip: bool = False

    @property
    def name(self) -> str:
        """For people: the file and where in it."""
        return f"{Path(self.path).name} at ({self.x}, {self.y}) of {self.short} px"


def list_images(folder: Path) -> list[Path]:
    """All image files under a folder, sorted; ImageNet's `<wnid>/*.JPEG` included.

    Raises:
        UserError: if the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: not found, expected a folder of images")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: no image found, expected files {', '.join(IMAGE_SUFFIXES)}")
    return paths


MAX_PHOTO_PIXELS = 89_478_485
"""Largest photo of a data set; Pillow's own limit for what may be an attack."""


def _read(path: Path) -> Photo | str:
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height <= MAX_PHOTO_PIXELS:
                to_rgb(image)
                return Photo(str(path), width, height)
    except Exception as error:  # Pillow raises many types for files that are not images
        return f"{path}: not a readable image ({error})"
    return (
        f"{path}: found {width} x {height} pixels, expected at most "
        f"{MAX_PHOTO_PIXELS / 1e6:.1f} megapixels"
    )


def check_images(paths: Sequence[Path], on_bad_image: str) -> list[Photo]:
    """Decode every file once, so that no bad one surfaces in the middle of a long run.

    Bad files are reported by name; `skip` goes on without them, `refuse` stops.

    Raises:
        UserError: naming the bad files if they are refused, or if no good one is left.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Pillow's word about huge pictures, which `_read` names.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        results = list(
            tqdm(pool.map(_read, paths), total=len(paths), desc="check images", unit="image")
        )
    bad = [r for r in results if isinstance(r, str)]
    for message in bad:
        tqdm.write(message)
    if bad and on_bad_image == "refuse":
        rest = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{rest}; set data.on_bad_image to skip to go on without")
    photos = [r for r in results if isinstance(r, Photo)]
    if not photos:
        raise UserError(f"none of the {len(paths)} images could be read, the first: {bad[0]}")
    return photos


def random_crop(photo: Photo, params: CropParams, seed: Sequence[int]) -> Crop:
    """A crop drawn from the seed alone: scale, then position, then mirroring."""
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
    """Fixed crops for evaluation, the first ADM's centre crop of the whole photo.

    The others are cut at twice the scale where the photo has the pixels, at the corners in turn.
    """
    width, height = resized(photo, size)
    crops = [Crop(photo.path, size, (width - size) // 2, (height - size) // 2, size)]
    short = min(2 * size, max(size, min(photo.width, photo.height)))
    width, height = resized(photo, short)
    corners = [(0, 0), (width - size, height - size), (width - size, 0), (0, height - size)]
    crops += [Crop(photo.path, short, x, y, size) for x, y in corners[: count - 1]]
    return list(dict.fromkeys(crops))


def resized(photo: Photo, short: int) -> tuple[int, int]:
    """Width and height of the photo with its shorter side at `short` pixels (see `_resize`)."""
    width, height = photo.width, photo.height
    while min(width, height) >= 2 * short:
        width, height = width // 2, height // 2
    scale = short / min(width, height)
    return round(width * scale), round(height * scale)


def _resize(image: Image.Image, size: tuple[int, int], short: int) -> Image.Image:
    """ADM's rule (Dhariwal and Nichol, arXiv 2105.05233), which the DC-AE authors evaluate by.

    Halve by averaging while the shorter side is at least twice too long, then bicubic.
    """
    while min(image.size) >= 2 * short:
        half = (image.width // 2, image.height // 2)
        image = image.resize(half, Image.Resampling.BOX)
    return image.resize(size, Image.Resampling.BICUBIC)


def load_crop(crop: Crop, *, draft: bool = False) -> Tensor:
    """The crop's pixels, (3, size, size) uint8.

    Args:
        draft: decode a JPEG far larger than needed at a fraction of its size: several times
            faster, and not exactly the pixels that `_resize` would give.

    Raises:
        UserError: if the file can't be read any more.
    """
    try:
        with Image.open(crop.path) as image:
            size = resized(Photo(crop.path, *image.size), crop.short)
            if draft:
                image.draft("RGB", size)
            # Not turned as EXIF says: the field's figures come from ImageNet as it is stored.
            rgb = _resize(to_rgb(image), size, crop.short)
    except OSError as error:
        raise UserError(f"{crop.path}: can't be read any more ({error})") from None
    box = (crop.x, crop.y, crop.x + crop.size, crop.y + crop.size)
    pixels = np.array(rgb.crop(box))
    if crop.flip:
        pixels = pixels[:, ::-1].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def to_model_range(pixels: Tensor) -> Tensor:
    """uint8 to float in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(image: Tensor) -> Tensor:
    """Float in [-1, 1], clamped and rounded to uint8 as a saved picture is."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


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


class CropDataset(Dataset[dict[str, Tensor]]):
    """Crops as {"pixels": (3, size, size) uint8}; `draft` is `load_crop`'s."""

    def __init__(self, crops: Sequence[Crop], *, draft: bool = False) -> None:
        self.crops, self.draft = crops, draft

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixels": load_crop(self.crops[index], draft=self.draft)}


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """`count` of the items at even intervals, or all where there are fewer."""
    return items[:: max(1, len(items) // count)][:count]


def load_images(photos: Sequence[Photo], size: int) -> Tensor:
    """The centre crop of each photo, (B, 3, size, size) in [-1, 1]."""
    return to_model_range(torch.stack([load_crop(eval_crops(p, size, 1)[0]) for p in photos]))


@dataclass(frozen=True)
class Manifest:
    """What prepare_data found: photos to train on, and fixed crops to measure with."""

    train: tuple[Photo, ...]
    eval: tuple[Crop, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON; photos below its own folder are named relative to that."""
        root = path.parent.resolve()
        raw = asdict(self)
        for entry in (*raw["train"], *raw["eval"]):
            photo = Path(entry["path"]).resolve()
            inside = photo.is_relative_to(root)
            entry["path"] = str(photo.relative_to(root) if inside else photo)
        path.write_text(json.dumps(raw, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read it back.

        Raises:
            UserError: if it is missing.
        """
        if not path.is_file():
            raise UserError(f"{path}: not found; `dvc repro prepare_data` makes it")
        raw = json.loads(path.read_text())
        for entry in (*raw["train"], *raw["eval"]):
            entry["path"] = str(path.parent / entry["path"])
        return cls(
            train=tuple(Photo(**photo) for photo in raw["train"]),
            eval=tuple(Crop(**crop) for crop in raw["eval"]),
        )


def split_photos(folder: Path, val_fraction: float) -> tuple[list[Path], list[Path]]:
    """Paths for training and for evaluation: `train` and `val` below the folder, or by share.

    Without these two folders, the photos whose hash is smallest are for evaluation: the
    choice is the same on every machine, and stable when photos are added.

    Raises:
        UserError: if there are too few images to split.
    """
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return list_images(folder / "train"), list_images(folder / "val")
    paths = list_images(folder)
    if len(paths) < 2:
        raise UserError(f"{folder}: found 1 image, expected at least 2 to split into train and val")
    ranked = sorted(
        paths, key=lambda p: hashlib.sha256(str(p.relative_to(folder)).encode()).digest()
    )
    n_val = min(len(paths) - 1, max(1, round(len(paths) * val_fraction)))
    return sorted(ranked[n_val:]), sorted(ranked[:n_val])
