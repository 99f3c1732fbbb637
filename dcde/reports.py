"""What a run leaves to read: metrics as JSON that DVC can compare, and pictures side by side."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dcde.data import Crop, load_crop, to_model_range, to_uint8
from dcde.files import whole_file
from dcde.model import DCAE

DIGITS = 6
"""Significant digits of a metric."""


def write_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Write metrics with sorted keys, rounded to significant digits; no NaN, no infinity.

    Raises:
        ValueError: naming a metric that is not finite.
    """
    clean = _clean(metrics, "")
    with whole_file(path) as partial:
        partial.write_text(json.dumps(clean, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _clean(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _clean(v, f"{name}.{k}" if name else k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v, f"{name}.{i}") for i, v in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name}: found {value}, expected a finite number")
        return float(f"{value:.{DIGITS}g}")
    return value


def write_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write these columns as CSV, which DVC plots; without rows the header alone."""
    with whole_file(path) as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(_clean(row, "") for row in rows)


def picture_grid(rows: Sequence[Mapping[str, Tensor]], captions: Sequence[str]) -> Image.Image:
    """Pictures side by side: a row for each image, a column for each entry of `captions`.

    Args:
        rows: caption to picture, (3, H, W) uint8, all of one size.
        captions: names of the columns, printed above them.
    """
    strips = [torch.cat([row[name] for name in captions], dim=2) for row in rows]
    pixels = torch.cat(strips, dim=1).permute(1, 2, 0).numpy()
    header = 24
    sheet = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + header), "white")
    sheet.paste(Image.fromarray(pixels), (0, header))
    draw = ImageDraw.Draw(sheet)
    width = pixels.shape[1] // len(captions)
    for i, name in enumerate(captions):
        draw.text((i * width + 8, 5), name, fill="black", font_size=14)
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


@torch.inference_mode()
def reconstruction_grid(models: Mapping[str, DCAE], crops: Sequence[Crop]) -> Image.Image:
    """Each crop beside what each model makes of it; the models share an encoder."""
    encoder = next(iter(models.values()))
    device = next(encoder.parameters()).device
    pixels = torch.stack([load_crop(crop) for crop in crops])
    latent = encoder.encode(to_model_range(pixels.to(device)))
    columns = {"input": pixels} | {
        name: to_uint8(model.decode(latent)).cpu() for name, model in models.items()
    }
    rows = [{name: stack[i] for name, stack in columns.items()} for i in range(len(crops))]
    return picture_grid(rows, list(columns))
