"""Scores of models from anywhere, each with its own encoder, on the same crops."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dcde.base.devices import best_device
from dcde.base.errors import UserError, one_line_errors
from dcde.base.results import write_metrics
from dcde.base.work import work_dir
from dcde.commands.options import SOURCES
from dcde.data.check import check_images
from dcde.data.crops import Crop, eval_crops
from dcde.data.folder import list_images
from dcde.data.manifest import Manifest
from dcde.evaluate.evaluate import evaluate
from dcde.metrics.frechet import inception_network, lite0_network
from dcde.metrics.lite0 import LITE0
from dcde.metrics.lpips import LPIPS_ALEX, load_lpips
from dcde.metrics.weights import find_inception, find_networks
from dcde.model import DCAE
from dcde.model.sources import load_model
from dcde.report.tables import score_table

MANIFEST = Path("data/photos/manifest.json")


def crops_to_score(images: Path | None, size: int) -> Sequence[Crop]:
    """The pipeline's evaluation crops, or the centre crop of `size` pixels of a folder's images.

    Raises:
        UserError: if there are none.
    """
    if images is None:
        return Manifest.load(MANIFEST).eval
    return [eval_crops(p, size, 1)[0] for p in check_images(list_images(images, "--images"))]


def score_models(
    models: Mapping[str, DCAE], crops: Sequence[Crop], *, fid: bool, batch_size: int
) -> dict[str, dict[str, float]]:
    """The eval stage's scores for each model, by name.

    Raises:
        UserError: before any work, if a model can't encode these crops or weights are missing.
    """
    for name, model in models.items():
        model.config.check_image_size(f"{name}: crops", crops[0].size)
    folder = find_networks()
    lpips_metric = load_lpips(folder / LPIPS_ALEX)
    networks = [lite0_network(folder / LITE0)]
    if fid:
        networks.append(inception_network(find_inception(), None, crops[0].size))
    scores: dict[str, dict[str, float]] = {}
    for name, model in models.items():  # one at a time: `evaluate` shares the first's encoder
        with tempfile.TemporaryDirectory() as state_dir:
            result = evaluate(
                {"model": model},
                crops,
                lpips_metric=lpips_metric,
                networks=networks,
                batch_size=batch_size,
                workers=0,
                device=best_device(),
                state_dir=Path(state_dir),
                cache_dir=work_dir() / "references",
            )
        assert result is not None  # this is the only process
        scores[name] = result.scores["model"]
        model.cpu()
    return scores


def eval_command(
    model: Annotated[list[str], typer.Option(help=f"{SOURCES} May be repeated.")],
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of images, in place of the pipeline's evaluation crops."),
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, help="Side of their centre crops in pixels, with --images.")
    ] = 512,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    fid: Annotated[bool, typer.Option("--fid", help="FID too (Inception).")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Score models as the eval stage does: PSNR, SSIM, LPIPS and Frechet distance."""

    with one_line_errors():
        if out is not None and out.is_dir():
            raise UserError(f"--out: found the folder {out}, expected a file")
        models = {source: load_model(source, "--model") for source in model}
        crops = crops_to_score(images, size)
        scores = score_models(models, crops, fid=fid, batch_size=batch_size)
        typer.echo(f"{len(crops)} crops of {crops[0].size} px\n\n{score_table(scores)}")
        if out is not None:
            write_metrics({**scores, "images": len(crops)}, out)
