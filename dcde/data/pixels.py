"""Convert pictures of any kind to 8-bit RGB, and 8 bits to and from the models' range [-1, 1]."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dcde.base.errors import UserError

MAX_PIXELS = 4096 * 4096
"""Largest picture to run through a model whole: its activations take gigabytes."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB: 16 bits scaled to 8, transparency over white, the rest as Pillow does.

    Raises:
        ValueError: for floating-point pixels, as their range is unknown.
    """
    if image.mode == "F":
        raise ValueError("found floating-point pixels, expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip at 255
        values = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    if image.mode == "RGB":  # Pillow would copy it, which may be large
        image.load()
        return image
    return image.convert("RGB")


def read_rgb(path: Path) -> Image.Image:
    """Read a picture as 8-bit RGB, rotated by its EXIF data; only an animation's first frame.

    Raises:
        UserError: if the file is not a readable picture, or has more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # We report the size below: Pillow's limit is five times ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
                if width * height <= MAX_PIXELS:
                    return to_rgb(_upright(image))
    except Exception as error:  # Pillow raises many types for files that are not images
        raise UserError(f"{path}: not a readable image ({error})") from None
    raise UserError(
        f"{path}: found {width} x {height} pixels, expected at most {MAX_PIXELS / 1e6:.1f} "
        "megapixels; scale it down or cut it"
    )


def _upright(image: Image.Image) -> Image.Image:
    """Rotate as the EXIF data says; leave the picture alone if that data is broken."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises many types here
        return image


def to_model_range(pixels: Tensor) -> Tensor:
    """Convert uint8 to float in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(image: Tensor) -> Tensor:
    """Convert float in [-1, 1] to uint8, clamped and rounded as in a saved picture."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
