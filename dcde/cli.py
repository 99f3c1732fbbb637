"""The `dcde` command."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from dcde.checkpoint import Layout
from dcde.errors import UserError, one_line_errors
from dcde.presets import overrides, preset_names, preset_row, read_preset

PRESETS = Path("presets")
TEACHER, STUDENT = "models/teacher", "models/student"

Format = Literal[Layout, "onnx"]
SOURCES = "bundled:NAME, hf:OWNER/NAME, hf:OWNER/NAME@REVISION or a folder."
ModelOption = Annotated[str, typer.Option("--model", help=SOURCES)]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Shrink the decoder of a Deep Compression AutoEncoder by pruning and distillation."""


@app.command()
def preset(
    name: Annotated[str | None, typer.Argument(help="A name of presets/.")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show all presets and what their students cost.")
    ] = False,
) -> None:
    """Print a preset as overrides, for `dvc exp run $(dcde preset NAME)`."""
    with one_line_errors():
        if show_list or name is None:
            typer.echo(_table())
        else:
            typer.echo(" ".join(f"-S {pair}" for pair in overrides(read_preset(PRESETS, name))))


@app.command("eval")
def evaluate(
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
    from dcde.reports import score_table, write_metrics
    from dcde.scoring import crops_to_score, score_models
    from dcde.sources import load_source

    with one_line_errors():
        if out is not None and out.is_dir():
            raise UserError(f"--out: found the folder {out}, expected a file")
        models = {source: load_source(source, "--model") for source in model}
        crops = crops_to_score(images, size)
        scores = score_models(models, crops, fid=fid, batch_size=batch_size)
        typer.echo(f"{len(crops)} crops of {crops[0].size} px\n\n{score_table(scores)}")
        if out is not None:
            write_metrics({**scores, "images": len(crops)}, out)


@app.command()
def reconstruct(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: OutOption,
    model: ModelOption = STUDENT,
    teacher: Annotated[
        str | None,
        typer.Option(help=f"A model to show too; {TEACHER} where --model is left at {STUDENT}."),
    ] = None,
) -> None:
    """Show images beside their reconstructions, with PSNR and LPIPS."""
    from dcde.devices import best_device
    from dcde.networks import find_networks
    from dcde.perceptual import LPIPS_ALEX, load_lpips
    from dcde.reconstruct import write_reconstructions
    from dcde.sources import load_source

    with one_line_errors():
        if teacher is None and model == STUDENT:
            teacher = TEACHER
        sources = {"model": model} if teacher is None else {"teacher": teacher, "student": model}
        device = best_device()
        models = {
            column: load_source(source, "--teacher" if column == "teacher" else "--model")
            for column, source in sources.items()
        }
        lpips_metric = load_lpips(find_networks() / LPIPS_ALEX).to(device)
        for loaded in models.values():
            loaded.to(device)
        for path in write_reconstructions(models, images, out, lpips_metric):
            typer.echo(path)


@app.command()
def export(
    out: OutOption,
    format: Annotated[Format, typer.Option(help="safetensors is our own layout.")],
    model: ModelOption = STUDENT,
) -> None:
    """Write a model for diffusers, efficientvit, ONNX or in our own layout."""
    from dcde.checkpoint import save_model
    from dcde.files import check_new
    from dcde.onnx_export import export_onnx
    from dcde.sources import load_source

    with one_line_errors():
        check_new(out, "--out")
        loaded = load_source(model, "--model")
        if format == "onnx":
            export_onnx(loaded, out)
        else:
            save_model(loaded, out, format)
        typer.echo(f"{loaded.config.name} in {out}")


@app.command()
def push(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    model: ModelOption = STUDENT,
    licence: Annotated[
        str | None, typer.Option(help="The hub's identifier, such as apache-2.0.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the files to --out, push nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --dry-run.")] = None,
) -> None:
    """Publish a model with a generated card on the Hugging Face hub."""
    from dcde.files import check_new
    from dcde.hub import upload
    from dcde.model_card import write_repository
    from dcde.sources import find_model

    with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        if dry_run != (out is not None):
            raise UserError("--dry-run and --out: found one of them, expected both or neither")
        folder = out or Path(temporary) / "repository"
        check_new(folder, "--out")
        write_repository(find_model(model, "--model"), folder, repo=repo, licence=licence)
        typer.echo(str(folder) if dry_run else upload(folder, repo))


@app.command()
def report(
    exps: Annotated[bool, typer.Option("--exps", help="All finished experiments.")] = False,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path(
        "report/experiments.html"
    ),
) -> None:
    """Write all finished DVC experiments on this commit as one page."""
    from dcde.experiments import experiments_page, read_experiments
    from dcde.files import whole_file

    with one_line_errors():
        if not exps:
            raise UserError(
                "report: expected --exps; the page of a single run is report/index.html, which "
                "`dvc repro` makes"
            )
        page = experiments_page(read_experiments())
        with whole_file(out) as partial:
            partial.write_text(page)
        typer.echo(out)


def _table() -> str:
    """All presets; GMACs are of one image at the preset's resolution."""
    lines = [
        f"{'name':11} {'decoder depths':22} {'px':>4} {'decoder GMACs':>20} "
        f"{'total GMACs':>20} {'decoder params':>15}"
    ]
    for name in preset_names(PRESETS):
        row = preset_row(PRESETS, name)
        decoder = f"{row.decoder_gmacs:.1f} (-{row.decoder_macs_saved_percent:.1f}%)"
        total = f"{row.total_gmacs:.1f} (-{row.total_macs_saved_percent:.1f}%)"
        lines.append(
            f"{row.name:11} {row.depth_list!s:22} {row.resolution:4} {decoder:>20} {total:>20} "
            f"{row.decoder_mparams:13.2f} M"
        )
    return "\n".join(lines)
