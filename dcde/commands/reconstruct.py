"""Pictures as models reconstruct them, beside the original and on a page that compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from dcde.report.pictures import Picture
from dcde.report.render import render

LPIPS_MIN_SIDE = 31
"""Pixels that AlexNet's convolutions and poolings need."""
PAGE = "index.html"
SINGLE = "single"
"""The folder of the pictures that the page shows, which would be too large to lie in it."""


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
    """Write each picture beside what each model makes of it, as PNG, and a page of all.

    Args:
        models: column to model.
        images: files, or folders of which all images are taken.
        folder: where they go: sheets named as the originals, the page, and in `SINGLE` the pictures
            that it shows.
        lpips_metric: (image, image) in [-1, 1] to a distance.

    Returns:
        Paths of the sheets, and of the page.

    Raises:
        UserError: before any is written, if one can't be read or two would have one name.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out: found {folder}, which is a file, expected a folder or a new name")
    targets = _targets(images, folder, ["input", *models])
    for path in tqdm(targets, desc="check images", unit="image"):
        read_rgb(path)
    pictures = []
    for path, target in tqdm(targets.items(), desc="reconstruct", unit="image"):
        original = torch.from_numpy(np.array(read_rgb(path))).permute(2, 0, 1)
        height, width = original.shape[1:]
        versions = {"input": original}
        captions = [f"input: {width} x {height}"]
        for name, model in models.items():
            versions[name] = reconstruct(model, original)
            captions.append(caption(name, versions[name], original, lpips_metric))
        _save(picture_grid([dict(zip(captions, versions.values(), strict=True))], captions), target)
        singles = _singles(target, folder, list(versions))
        for pixels, single in zip(versions.values(), singles.values(), strict=True):
            _save(Image.fromarray(pixels.permute(1, 2, 0).numpy()), single)
        places = {name: quote(p.relative_to(folder).as_posix()) for name, p in singles.items()}
        pictures.append(Picture("; ".join([str(path), *captions]), width, height, places))
    page = folder / PAGE
    with whole_file(page) as partial:
        partial.write_text(
            render(
                pictures,
                title="DCDE: pictures reconstructed",
                subtitle=f"The input and what became of it: {', '.join(models)}.",
            )
        )
    return [*targets.values(), page]


def _save(picture: Image.Image, path: Path) -> None:
    with whole_file(path) as partial:
        picture.save(partial, format="PNG")


def _singles(target: Path, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Where the page has each version of the picture whose sheet is `target`."""
    own = folder / SINGLE / target.relative_to(folder).with_suffix("")
    return {name: own / f"{name}.png" for name in names}


def _targets(images: Sequence[Path], folder: Path, versions: Sequence[str]) -> dict[Path, Path]:
    """Each image file, and the sheet to write for it: below its own folder where one was given."""
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
        for file in (target, *_singles(target, folder, versions).values()):
            if file.resolve() in originals:
                raise UserError(f"{file}: would replace an original; choose another --out")
            if (other := taken.setdefault(file, path)) != path:
                raise UserError(f"{other} and {path} would both be written to {file}")
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
    """Show images beside their reconstructions, with PSNR and LPIPS.

    Writes a PNG for each image, and index.html, which compares them with a slider and by their
    difference.
    """

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
