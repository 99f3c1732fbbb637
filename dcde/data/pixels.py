"""Convert pictures of any kind to 8-bit sRGB, and 8 bits to and from the models' range [-1, 1]."""

from __future__ import annotations

import warnings
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from dcde.base.errors import UserError

MAX_PIXELS = 4096 * 4096
"""Largest picture to run through a model whole: its activations take gigabytes."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit sRGB: 16 bits scaled to 8, colors by the profile, transparency over white.

    Raises:
        ValueError: for floating-point or 32-bit pixels, as their range is unknown.
    """
    profile, alpha = image.info.get("icc_profile"), None
    if image.mode == "F":
        raise ValueError("found floating-point pixels, expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("found 32-bit pixels, expected 8 or 16 bits a channel")
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
    image = _by_profile(image, profile) if profile else image
    if image.mode == "RGB":  # Pillow would copy it, which may be large
        image.load()
    else:
        image = image.convert("RGB")
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    image.info.pop("icc_profile", None)  # Pillow would save it with the picture
    return image


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB by an ICC profile; return the image as it is if that changes nothing."""
    modes = {"L": ("L", "RGB"), "LA": ("L", "RGB"), "1": ("L", "RGB"), "CMYK": ("CMYK",)}
    for mode in modes.get(image.mode, ("RGB",)):
        if transform := _transform(profile, mode):
            return transform.apply(image if image.mode == mode else image.convert(mode))
    return image


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB, as Photoshop does it by default.

    None if the profile is broken, is for other modes, or is sRGB itself: many copies of it differ
    from each other by one level, and pixels in sRGB stay as they are.
    """
    try:
        transform = ImageCms.buildTransform(
            BytesIO(profile),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (TypeError, ImageCms.PyCMSError):  # a TIFF may give numbers for bytes
        return None
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 16).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, 256, 3)
    probe = Image.fromarray(colors).convert(mode)
    before, after = (np.asarray(x.convert("RGB"), int) for x in (probe, transform.apply(probe)))
    return transform if np.abs(after - before).max() > 1 else None


def read_rgb(path: Path) -> Image.Image:
    """Read a picture as 8-bit sRGB, rotated by its EXIF data; only an animation's first frame.

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
