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


SCORES = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "fid": "FID",
    "fd_lite0": "fd_lite0",
}
"""Scores and how tables call them, in their order."""


def score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of models and their scores."""
    shown = [key for key in SCORES if any(key in values for values in scores.values())]
    rows = [["model", *(SCORES[key] for key in shown)]]
    for name, values in scores.items():
        rows.append([name, *(f"{values[key]:.4g}" if key in values else "" for key in shown)])
    return markdown_table(rows)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which is the head, aligned for those who read the source."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def picture_grid(rows: Sequence[Mapping[str, Tensor]], captions: Sequence[str]) -> Image.Image:
    """Pictures side by side: a row for each image, a column for each entry of `captions`.

    Args:
        rows: caption to picture, (3, H, W) uint8, all of one size.
        captions: names of the columns, printed above them, larger above large pictures.
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
    """Write a picture, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=92)


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
