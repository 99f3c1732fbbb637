"""What a run changed against git's last commit: parameters, what came of them, and the command."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcde.params.overrides import changed, leaves, overrides

CODE = ("dcde", "stages", "dvc.yaml")
"""What a run is made by, besides its parameters."""

Change = tuple[Any, Any]
"""A value in the commit and the one at hand; None where there is none."""


@dataclass(frozen=True)
class Changes:
    """How the run at hand differs from what the last commit has."""

    commit: str
    """Its short name."""
    params: Mapping[str, Change]
    """Those that differ, as in `loss.gamma`."""
    metrics: Mapping[str, Change]
    """Those that differ, as in `student.psnr_db`; nothing of a file that the commit lacks."""
    code: tuple[str, ...]
    """Files of `CODE` that differ from the commit's."""

    @property
    def command(self) -> str:
        """What makes the run again, in a shell, on the commit with the same code."""
        settings = {name: now for name, (_, now) in self.params.items()}
        pairs = [f"-S {shlex.quote(pair)}" for pair in overrides(settings)]
        return " ".join(["dvc exp run", *pairs]) if pairs else "dvc repro"


def read_changes(params: Path, metrics: Iterable[Path]) -> Changes | None:
    """Compare files in the work tree with those of the last commit; None without one.

    While an experiment runs, that is the commit which it started from.

    Args:
        params: the parameters file, relative to the current folder.
        metrics: JSON files, likewise.
    """
    commit = git("rev-parse", "--short", "HEAD")
    if commit is None:
        return None
    scores: dict[str, Change] = {}
    for path in metrics:
        if (then := _committed(path)) is not None:
            scores |= changed(leaves(json.loads(then)), leaves(json.loads(path.read_text())))
    return Changes(
        commit=commit,
        params=changed(
            yaml.safe_load(_committed(params) or "{}"), yaml.safe_load(params.read_text())
        ),
        metrics=scores,
        code=tuple(line[3:] for line in (git("status", "--short", *CODE) or "").splitlines()),
    )


def git(*arguments: str) -> str | None:
    """What git says; None where it has nothing to say, as outside of a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except FileNotFoundError:  # no git at all
        return None
    return done.stdout.rstrip() if done.returncode == 0 else None


def _committed(path: Path) -> str | None:
    return git("show", f"HEAD:./{path.as_posix()}")
