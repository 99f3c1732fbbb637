"""`dcde eval`: score models from anywhere, as the eval stage does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import check_writable
from dcde.base.paths import MANIFEST
from dcde.base.results import write_metrics
from dcde.commands.options import SOURCES
from dcde.data.check import check_images
from dcde.data.crops import Crop, eval_crops
from dcde.data.folder import list_images
from dcde.data.manifest import Manifest
from dcde.evaluate.evaluate import evaluate
from dcde.metrics.lpips import LPIPS_ALEX, load_lpips
from dcde.metrics.weights import find_networks, frechet_networks
from dcde.model.sources import load_model
from dcde.params.section import MAX_SIDE
from dcde.report.tables import score_table


def crops_to_score(images: Path, size: int) -> Sequence[Crop]:
    """Return the center crop of each image in a folder.

    Raises:
        UserError: if there are none.
    """
    return [eval_crops(p, size, 1)[0] for p in check_images(list_images(images, "--images"))]


def eval_command(
    model: Annotated[list[str], typer.Option(help=f"{SOURCES} May be repeated.")],
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of images, in place of the pipeline's evaluation crops."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32, max=MAX_SIDE, help="Side of their center crops in pixels, 512 by default."
        ),
    ] = None,
    fid: Annotated[bool, typer.Option("--fid", help="FID too (Inception).")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Score models as the eval stage does: PSNR, SSIM, LPIPS and Frechet distance."""

    with one_line_errors(), tempfile.TemporaryDirectory() as state_dir:
        if out is not None:
            if out.is_dir():
                raise UserError(f"--out: found the folder {out}, expected a file")
            check_writable(out.parent, "--out")
        if size is not None and images is None:
            raise UserError(f"--size: found {size}, expected --images with it")
        folder = find_networks(fid=fid)
        models = {source: load_model(source, "--model") for source in model}
        pipeline = () if images else Manifest.load(MANIFEST).eval
        side = pipeline[0].size if pipeline else size or 512
        for source, loaded in models.items():
            loaded.config.check_image_size(f"{source}: --size" if images else source, side)
        crops = crops_to_score(images, side) if images else pipeline
        result = evaluate(
            models,
            crops,
            lpips_metric=load_lpips(folder / LPIPS_ALEX),
            networks=frechet_networks(folder, fid=fid, resolution=side),
            state_dir=Path(state_dir),
        )
        assert result is not None  # this is the only process
        typer.echo(f"{len(crops)} crops of {side} px\n\n{score_table(result.scores)}")
        if out is not None:
            write_metrics({**result.scores, "images": len(crops)}, out)
