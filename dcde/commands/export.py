"""`dcde export`: write a model in a layout that other programs read."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dcde.base.errors import one_line_errors
from dcde.base.files import check_new
from dcde.commands.onnx import export_onnx
from dcde.commands.options import DEFAULT_MODEL, ModelOption, OutOption
from dcde.model.checkpoint import Layout, save_model
from dcde.model.sources import load_model

Format = Literal[Layout, "onnx"]


def export(
    out: OutOption,
    format: Annotated[Format, typer.Option(help="safetensors is our own layout.")],
    model: ModelOption = DEFAULT_MODEL,
) -> None:
    """Write a model for diffusers, ONNX or in our own layout."""
    with one_line_errors():
        check_new(out, "--out")
        loaded = load_model(model, "--model")
        if format == "onnx":
            export_onnx(loaded, out)
        else:
            save_model(loaded, out, format)
        typer.echo(f"{loaded.config.name} in {out}")
