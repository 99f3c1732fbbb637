"""Show pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from dcde.data.crops import Crop, load_crop
from dcde.data.pixels import to_model_range, to_uint8


def picture_grid(rows: Sequence[Mapping[str, Tensor]], captions: Sequence[str]) -> Image.Image:
    """Return a sheet with a row for each image and a column for each caption.

    Args:
        rows: caption to picture, (3, H, W) uint8, all of one size.
        captions: printed above the columns, larger above large pictures.
    """
    height, width = rows[0][captions[0]].shape[1:]
    font_size = max(14, width // 32)
    margin, header = font_size // 2 + 1, 2 * font_size - 4
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widest = max(measure.textlength(name, font_size=font_size) for name in captions)
    column = max(width, math.ceil(widest) + 2 * margin)
    sheet = Image.new("RGB", (column * len(captions), height * len(rows) + header), "white")
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(captions):
        draw.text((i * column + margin, font_size // 3 + 1), name, "black", font_size=font_size)
        for j, row in enumerate(rows):
            picture = Image.fromarray(row[name].permute(1, 2, 0).numpy())
            sheet.paste(picture, (i * column, header + j * height))
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=92)


@torch.inference_mode()
def reconstruction_grid(models: Mapping[str, nn.Module], crops: Sequence[Crop]) -> Image.Image:
    """Show each crop beside its reconstructions.

    Args:
        models: caption to autoencoder, (B, 3, H, W) in [-1, 1] to the same, all on one device.
    """
    device = next(next(iter(models.values())).parameters()).device
    pixels = torch.stack([load_crop(crop) for crop in crops])
    images = to_model_range(pixels.to(device))
    columns = {"input": pixels} | {
        name: to_uint8(model(images)).cpu() for name, model in models.items()
    }
    rows = [{name: stack[i] for name, stack in columns.items()} for i in range(len(crops))]
    return picture_grid(rows, list(columns))
