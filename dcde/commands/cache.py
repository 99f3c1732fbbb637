"""`dcde cache`: what runs have left in `.dcde`, and how to be rid of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dcde.base.errors import UserError, one_line_errors
from dcde.base.work import human_bytes, locked, work_dir

KINDS = {
    "latents": "crops and their latents, computed again when a run needs them",
    "photos": "which photos of a folder were read in full, found again when it is checked anew",
    "references": "statistics of the photos that Frechet distances compare with, computed again",
    "distill": "an unfinished distillation, which `dvc repro` continues",
    "eval": "an unfinished evaluation, which `dvc repro` continues",
    "autoencoder": "an unfinished training or evaluation in autoencoder/, which `dvc repro` there "
    "continues",
}
REPLACEABLE = ("latents", "photos", "references")
"""Kinds that cost nothing but time to lose."""

cache = typer.Typer(no_args_is_help=True, help="Show or clear what runs have left in .dcde.")


@dataclass(frozen=True)
class Entry:
    """A file or folder of the work folder."""

    kind: str
    path: Path
    size_bytes: int
    changed: datetime


def entries(root: Path) -> list[Entry]:
    """What lies in the work folder, the largest first."""
    found = []
    for kind in KINDS:
        for path in sorted((root / kind).glob("[!.]*")):
            files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            stats = [p.stat() for p in files]
            changed = max((s.st_mtime for s in stats), default=path.stat().st_mtime)
            size = sum(s.st_size for s in stats)
            found.append(Entry(kind, path, size, datetime.fromtimestamp(changed)))
    return sorted(found, key=lambda entry: -entry.size_bytes)


@cache.command("list")
def list_entries() -> None:
    """Show what lies in .dcde, the largest first."""
    with one_line_errors():
        found = entries(work_dir())
        for entry in found:
            typer.echo(
                f"{human_bytes(entry.size_bytes):>8}  {entry.changed:%Y-%m-%d %H:%M}  {entry.path}"
            )
        total = human_bytes(sum(entry.size_bytes for entry in found))
        typer.echo(f"{total:>8}  in all, in {work_dir()}")
        for kind in dict.fromkeys(entry.kind for entry in found):
            typer.echo(f"{kind}: {KINDS[kind]}")


@cache.command()
def clear(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(help=f"Some of {', '.join(KINDS)}; without: {', '.join(REPLACEABLE)}."),
    ] = None,
) -> None:
    """Remove entries of .dcde; unfinished runs only where their kind is named."""
    with one_line_errors():
        for kind in kinds or ():
            if kind not in KINDS:
                raise UserError(f"found {kind!r}, expected some of {', '.join(KINDS)}")
        freed_bytes = 0
        for entry in entries(work_dir()):
            if entry.kind not in (kinds or REPLACEABLE):
                continue
            try:
                with locked(entry.path, busy="kept, as a run that is going on uses it"):
                    shutil.rmtree(entry.path) if entry.path.is_dir() else entry.path.unlink()
            except UserError as in_use:
                typer.echo(in_use)
                continue
            typer.echo(f"{entry.path}: removed")
            freed_bytes += entry.size_bytes
        typer.echo(f"{human_bytes(freed_bytes)} freed")
