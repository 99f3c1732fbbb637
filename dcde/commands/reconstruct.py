"""`dcde reconstruct`: show pictures beside their reconstructions, in files and on a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from dcde.base.devices import best_device
from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import check_writable, whole_file
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
from dcde.report.pictures import Picture
from dcde.report.render import render

LPIPS_MIN_SIDE = 31
"""Pixels that AlexNet's convolutions and poolings need."""


@torch.inference_mode()
def reconstruct(model: DCAE, pixels: Tensor) -> Tensor:
    """Encode and decode a picture of any size, (3, H, W) uint8.

    Its right and bottom edges are repeated up to a multiple of `downsampling`, and cut off again.
    """
    height, width = pixels.shape[1:]
    f = model.config.downsampling
    image = to_model_range(pixels[None].to(next(model.parameters()).device))
    padded = F.pad(image, (0, -width % f, 0, -height % f), mode="replicate")
    return to_uint8(model(padded))[0, :, :height, :width].cpu()


@torch.inference_mode()
def caption(name: str, picture: Tensor, original: Tensor, lpips_metric: nn.Module) -> str:
    """Return the name with the PSNR and LPIPS of a picture, (3, H, W) uint8."""
    pair = [x.permute(1, 2, 0).numpy() for x in (picture, original)]
    lpips = "-"
    if min(original.shape[1:]) >= LPIPS_MIN_SIDE:
        device = next(lpips_metric.parameters()).device
        images = [to_model_range(x[None].to(device)) for x in (picture, original)]
        lpips = f"{lpips_metric(*images).item():.3f}"
    return f"{name}: PSNR {psnr_db(*pair):.2f} dB, LPIPS {lpips}"


def write_reconstructions(
    models: Mapping[str, DCAE], images: Sequence[Path], folder: Path, lpips_metric: nn.Module
) -> list[Path]:
    """Write each picture beside its reconstructions as a PNG sheet, and a page of all pictures.

    Args:
        models: column to model.
        images: files, or folders of images.
        folder: for the sheets, which have the originals' names, for the page, and for the single
            pictures that it shows, which would be too large for one file.
        lpips_metric: (image, image) in [-1, 1] to a distance.

    Returns:
        Paths of the sheets and of the page.

    Raises:
        UserError: before any is written, if one can't be read or two would have one name.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out: found {folder}, which is a file, expected a folder or a new name")
    check_writable(folder, "--out")
    sheets = _sheets(images, folder, ["input", *models])
    for path in tqdm(sheets, desc="check images", unit="image"):
        read_rgb(path)
    pictures = []
    for path, sheet in tqdm(sheets.items(), desc="reconstruct", unit="image"):
        original = torch.from_numpy(np.array(read_rgb(path))).permute(2, 0, 1)
        height, width = original.shape[1:]
        versions = {"input": original}
        captions = [f"input: {width} x {height}"]
        for name, model in models.items():
            versions[name] = reconstruct(model, original)
            captions.append(caption(name, versions[name], original, lpips_metric))
        _save(picture_grid([dict(zip(captions, versions.values(), strict=True))], captions), sheet)
        places = {}
        for name, single in _singles(sheet, folder, versions).items():
            _save(Image.fromarray(versions[name].permute(1, 2, 0).numpy()), single)
            places[name] = quote(single.relative_to(folder).as_posix())
        pictures.append(Picture("; ".join([str(path), *captions]), width, height, places))
    page = folder / "index.html"
    subtitle = f"The input and its reconstructions by {', '.join(models)}."
    with whole_file(page) as partial:
        partial.write_text(render(pictures, title="DCDE: reconstructions", subtitle=subtitle))
    return [*sheets.values(), page]


def _save(picture: Image.Image, path: Path) -> None:
    with whole_file(path) as partial:
        picture.save(partial, format="PNG")


def _singles(sheet: Path, folder: Path, versions: Iterable[str]) -> dict[str, Path]:
    """Return the file of each version of a sheet's picture."""
    own = folder / "single" / sheet.relative_to(folder).with_suffix("")
    return {name: own / f"{name}.png" for name in versions}


def _sheets(images: Sequence[Path], folder: Path, versions: Sequence[str]) -> dict[Path, Path]:
    """Return each image file's sheet, in the same subfolder as in the folder that was given."""
    sheets: dict[Path, Path] = {}
    for given in images:
        if not given.exists():
            raise UserError(f"{given}: not found, expected an image or a folder of images")
        for path in list_images(given) if given.is_dir() else [given]:
            below = path.relative_to(given) if given.is_dir() else Path(path.name)
            sheets[path] = folder / below.with_suffix(".png")
    originals = {path.resolve() for path in sheets}
    taken: dict[Path, Path] = {}
    for path, sheet in sheets.items():
        for file in (sheet, *_singles(sheet, folder, versions).values()):
            if file.resolve() in originals:
                raise UserError(f"{file}: would replace an original; choose another --out")
            if (other := taken.setdefault(file, path)) != path:
                raise UserError(f"{other} and {path} would both be written to {file}")
    return sheets


def reconstruct_command(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: OutOption,
    model: ModelOption = DEFAULT_MODEL,
    teacher: Annotated[
        str | None,
        typer.Option(help=f"Another model to show; without --model, {TEACHER}."),
    ] = None,
) -> None:
    """Show images beside their reconstructions, with PSNR and LPIPS.

    Writes a PNG for each image, and index.html, which compares them with a slider and by their
    difference.
    """

    with one_line_errors():
        if teacher is None and model == DEFAULT_MODEL:
            teacher = str(TEACHER)
        device = best_device()
        models = {"model" if teacher is None else "student": load_model(model, "--model")}
        if teacher is not None:
            models = {"teacher": load_model(teacher, "--teacher"), **models}
        for loaded in models.values():
            loaded.to(device)
        lpips_metric = load_lpips(find_networks() / LPIPS_ALEX).to(device)
        for path in write_reconstructions(models, images, out, lpips_metric):
            typer.echo(path)
