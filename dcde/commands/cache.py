"""`dcde cache`: list and clear what runs have left in `.dcde`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dcde.base.errors import UserError, one_line_errors
from dcde.base.work import human_bytes, locked, work_dir

KINDS = {
    "latents": "crops and their latents, computed again if a run needs them",
    "photos": "which photos of a folder were read in full; they are read again if needed",
    "distill": "an unfinished distillation, which `dvc repro` continues",
    "eval": "an unfinished evaluation, which `dvc repro` continues",
    "autoencoder": "an unfinished stage of autoencoder/, which `dvc repro` there continues",
}
REPLACEABLE = ("latents", "photos")
"""Kinds that only cost time to lose."""

cache = typer.Typer(no_args_is_help=True, help="Show or clear what runs have left in .dcde.")


def entries() -> Iterator[tuple[str, Path, list[Path]]]:
    """Yield the kind, the path and the files of each entry in the work folder."""
    for kind in KINDS:
        for path in sorted((work_dir() / kind).glob("[!.]*")):
            yield kind, path, [p for p in (path, *path.rglob("*")) if p.is_file()]


def _bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


@cache.command("list")
def list_entries() -> None:
    """Show the entries of .dcde, the largest first."""
    with one_line_errors():
        found = sorted(entries(), key=lambda entry: -_bytes(entry[2]))
        for _, path, files in found:
            changed = datetime.fromtimestamp(max(p.stat().st_mtime for p in (path, *files)))
            typer.echo(f"{human_bytes(_bytes(files)):>8}  {changed:%Y-%m-%d %H:%M}  {path}")
        total = sum(_bytes(files) for _, _, files in found)
        typer.echo(f"{human_bytes(total):>8}  in all, in {work_dir()}")
        for kind in dict.fromkeys(kind for kind, _, _ in found):
            typer.echo(f"{kind}: {KINDS[kind]}")


@cache.command()
def clear(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(help=f"Some of {', '.join(KINDS)}; without: {', '.join(REPLACEABLE)}."),
    ] = None,
) -> None:
    """Remove entries of .dcde; unfinished runs only if their kind is named."""
    with one_line_errors():
        for kind in kinds or ():
            if kind not in KINDS:
                raise UserError(f"found {kind!r}, expected some of {', '.join(KINDS)}")
        freed_bytes = 0
        for kind, path, files in list(entries()):
            if kind not in (kinds or REPLACEABLE):
                continue
            try:
                with locked(path, busy="kept, as a run is using it"):
                    freed_bytes += _bytes(files)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                typer.echo(f"{path}: removed")
            except UserError as in_use:
                typer.echo(in_use)
        typer.echo(f"{human_bytes(freed_bytes)} freed")
