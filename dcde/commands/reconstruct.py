"""Pictures as models reconstruct them, beside the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from tqdm import tqdm

from dcde.base.devices import best_device
from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import whole_file
from dcde.base.paths import TEACHER
from dcde.commands.options import DEFAULT_MODEL, ModelOption, OutOption
from dcde.data.folder import list_images
from dcde.data.grid import picture_grid
from dcde.data.pixels import read_rgb, to_model_range, to_uint8
from dcde.metrics.lpips import LPIPS_ALEX, load_lpips
from dcde.metrics.pictures import psnr_db
from dcde.metrics.weights import find_networks
from dcde.model import DCAE
from dcde.model.sources import load_model

LPIPS_MIN_SIDE = 31
"""Pixels that AlexNet's convolutions and poolings need."""


@torch.inference_mode()
def reconstruct(model: DCAE, pixels: Tensor) -> Tensor:
    """What the model makes of a picture of any size, (3, H, W) uint8 to the same.

    It is padded at the right and the bottom by its edges to a multiple of `downsampling`, and cut
    back.
    """
    height, width = pixels.shape[1:]
    f = model.config.downsampling
    image = to_model_range(pixels[None].to(next(model.parameters()).device))
    padded = F.pad(image, (0, -width % f, 0, -height % f), mode="replicate")
    return to_uint8(model(padded))[0, :, :height, :width].cpu()


@torch.inference_mode()
def caption(name: str, picture: Tensor, original: Tensor, lpips_metric: nn.Module) -> str:
    """The name with PSNR and LPIPS of a picture, (3, H, W) uint8; LPIPS needs 31 pixels a side."""
    pair = [x.permute(1, 2, 0).numpy() for x in (picture, original)]
    text = f"{name}: PSNR {psnr_db(*pair):.2f} dB, LPIPS "
    if min(original.shape[1:]) < LPIPS_MIN_SIDE:
        return text + "-"
    device = next(lpips_metric.parameters()).device
    images = [to_model_range(x[None].to(device)) for x in (picture, original)]
    return text + f"{lpips_metric(*images).item():.3f}"


def write_reconstructions(
    models: Mapping[str, DCAE], images: Sequence[Path], folder: Path, lpips_metric: nn.Module
) -> list[Path]:
    """Write each picture beside what each model makes of it, as PNG; the files' paths.

    Args:
        models: column to model.
        images: files, or folders of which all images are taken.
        folder: Where the pictures go, named as the originals.
        lpips_metric: (image, image) in [-1, 1] to a distance.

    Raises:
        UserError: before any is written, if one can't be read or two would have one name.
    """
    targets = _targets(images, folder)
    for path in tqdm(targets, desc="check images", unit="image"):
        read_rgb(path)
    for path, target in tqdm(targets.items(), desc="reconstruct", unit="image"):
        original = torch.from_numpy(np.array(read_rgb(path))).permute(2, 0, 1)
        row = {f"input: {original.shape[2]} x {original.shape[1]}": original}
        for name, model in models.items():
            picture = reconstruct(model, original)
            row[caption(name, picture, original, lpips_metric)] = picture
        with whole_file(target) as partial:
            picture_grid([row], list(row)).save(partial, format="PNG")
    return list(targets.values())


def _targets(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Each image file, and the file to write for it: below its own folder where one was given."""
    targets: dict[Path, Path] = {}
    for given in images:
        if not given.exists():
            raise UserError(f"{given}: not found, expected an image or a folder of images")
        for path in list_images(given) if given.is_dir() else [given]:
            below = path.relative_to(given) if given.is_dir() else Path(path.name)
            targets[path] = folder / below.with_suffix(".png")
    originals = {path.resolve() for path in targets}
    taken: dict[Path, Path] = {}
    for path, target in targets.items():
        if target.resolve() in originals:
            raise UserError(f"{target}: would replace an original; choose another --out")
        if (other := taken.setdefault(target, path)) != path:
            raise UserError(f"{other} and {path} would both be written to {target}")
    return targets


def reconstruct_command(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: OutOption,
    model: ModelOption = DEFAULT_MODEL,
    teacher: Annotated[
        str | None,
        typer.Option(
            help=f"A model to show too; {TEACHER} where --model is left at {DEFAULT_MODEL}."
        ),
    ] = None,
) -> None:
    """Show images beside their reconstructions, with PSNR and LPIPS."""

    with one_line_errors():
        if teacher is None and model == DEFAULT_MODEL:
            teacher = str(TEACHER)
        sources = {"model": model} if teacher is None else {"teacher": teacher, "student": model}
        device = best_device()
        models = {
            column: load_model(source, "--teacher" if column == "teacher" else "--model")
            for column, source in sources.items()
        }
        lpips_metric = load_lpips(find_networks() / LPIPS_ALEX).to(device)
        for loaded in models.values():
            loaded.to(device)
        for path in write_reconstructions(models, images, out, lpips_metric):
            typer.echo(path)
