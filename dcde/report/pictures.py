"""Make the pictures that the page's viewer compares: an input, and how each model decodes it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dcde.data.crops import Crop, load_crop
from dcde.data.pixels import to_model_range, to_uint8
from dcde.model import DCAE
from dcde.model.shared_encoders import SharedEncoders

WEBP_QUALITY = 95


@dataclass(frozen=True)
class Picture:
    """A picture in several versions of the same size."""

    caption: str
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    images: Mapping[str, str]
    """Name to URI: the data itself, or a path relative to the page."""


@torch.inference_mode()
def decode_pictures(
    models: Mapping[str, DCAE], crops: Sequence[Crop], rows: Sequence[Mapping[str, Any]]
) -> list[Picture]:
    """Encode and decode crops with each model.

    Args:
        rows: the scores of each crop, see `dcde.evaluate.evaluate.image_rows`.
    """
    encode = SharedEncoders(models)
    pictures = []
    for crop, row in zip(crops, rows, strict=True):
        pixels = load_crop(crop)[None]
        latents = encode(to_model_range(pixels))
        decoded = {name: to_uint8(models[name].decode(x)) for name, x in latents.items()}
        images = {name: _data_uri(x[0]) for name, x in {"input": pixels, **decoded}.items()}
        scores = [
            f"{name} {float(row[f'{name}.psnr_db']):.2f} dB, "
            f"LPIPS {float(row[f'{name}.lpips']):.3f}"
            for name in models
        ]
        height, width = pixels.shape[2:]
        pictures.append(Picture("; ".join([row["crop"], *scores]), width, height, images))
    return pictures


def _data_uri(pixels: Tensor) -> str:
    """Return (3, H, W) uint8 pixels as a URI that holds a WebP picture."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    picture.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
