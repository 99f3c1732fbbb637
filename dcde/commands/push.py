"""`dcde push`: publish a model on the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import check_new
from dcde.commands.model_card import write_repository
from dcde.commands.options import DEFAULT_MODEL, ModelOption
from dcde.model.hub import upload
from dcde.model.sources import find_model


def push(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    model: ModelOption = DEFAULT_MODEL,
    licence: Annotated[
        str | None, typer.Option(help="The hub's identifier, such as apache-2.0.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the files to --out, push nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --dry-run.")] = None,
) -> None:
    """Publish a model with a generated card on the Hugging Face hub."""

    with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        _check_name(repo)
        if dry_run != (out is not None):
            raise UserError("--dry-run and --out: found one of them, expected both or neither")
        folder = out or Path(temporary) / "repository"
        check_new(folder, "--out")
        write_repository(find_model(model, "--model"), folder, repo=repo, licence=licence)
        typer.echo(str(folder) if dry_run else upload(folder, repo))


def _check_name(repo: str) -> None:
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if repo.count("/") != 1:
        raise UserError(f"REPO: found {repo!r}, expected OWNER/NAME")
    try:
        validate_repo_id(repo)
    except ValueError as error:
        raise UserError(f"REPO: {error}") from None
