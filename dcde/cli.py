"""The `dcde` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcde.errors import one_line_errors
from dcde.presets import overrides, preset_names, preset_row, read_preset

PRESETS = Path("presets")

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


def _table() -> str:
    """All presets; GMACs are of one image at the preset's resolution."""
    lines = [
        f"{'name':8} {'decoder depths':22} {'px':>4} {'decoder GMACs':>20} "
        f"{'total GMACs':>20} {'decoder params':>15}"
    ]
    for name in preset_names(PRESETS):
        row = preset_row(PRESETS, name)
        decoder = f"{row.decoder_gmacs:.1f} (-{row.decoder_macs_saved_percent:.1f}%)"
        total = f"{row.total_gmacs:.1f} (-{row.total_macs_saved_percent:.1f}%)"
        lines.append(
            f"{row.name:8} {row.depth_list!s:22} {row.resolution:4} {decoder:>20} {total:>20} "
            f"{row.decoder_mparams:13.2f} M"
        )
    return "\n".join(lines)
