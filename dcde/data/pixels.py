"""Pictures of any kind as 8-bit RGB, and 8 bits as the range [-1, 1] that models work in."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dcde.base.errors import UserError

MAX_PIXELS = 4096 * 4096
"""Largest picture that is taken whole: a model's activations need gigabytes for it."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as 8-bit RGB: 16 bits scaled to 8, transparency over white, else as Pillow does.

    Raises:
        ValueError: for floating-point pixels, whose range nobody states.
    """
    if image.mode == "F":
        raise ValueError("found floating-point pixels, expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion cuts off at 255
        values = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    if image.mode == "RGB":  # Pillow would copy it, which counts where it is huge
        image.load()
        return image
    return image.convert("RGB")


def read_rgb(path: Path) -> Image.Image:
    """A picture as 8-bit RGB, upright as its EXIF data says; the first frame of an animation.

    Raises:
        UserError: if the file is not a readable picture, or has more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit, five times ours: told below with the size.
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
    """Turned as its EXIF data says, or as it is where that is broken: the pixels may be good."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises many types here; what is wrong with pixels `to_rgb` finds too
        return image


def to_model_range(pixels: Tensor) -> Tensor:
    """uint8 to float in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(image: Tensor) -> Tensor:
    """Float in [-1, 1], clamped and rounded to uint8 as a saved picture is."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
