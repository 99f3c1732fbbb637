"""The work folder, for caches and unfinished runs, and its entries' names and locks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from dcde.base.errors import UserError
from dcde.base.files import sha256_of


def work_dir() -> Path:
    """Return the work folder: git-ignored, outside every DVC output.

    DVC sets DVC_ROOT for its commands. For a worker of its queue, this is the repository that the
    experiment came from, so that all experiments share their caches.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".dcde"


def left_behind(path: Path) -> str:
    """Return what to add to an error about a missing path that the experiment's repository has."""
    there = Path(os.environ.get("DVC_ROOT", "."), path)
    if path.exists() or not there.exists():
        return ""
    return (
        f"; {there} exists, but an experiment outside the workspace (--temp, --queue) has only "
        "tracked files: give the absolute path"
    )


def run_key(settings: Any, files: Iterable[Path]) -> str:
    """Name a run or a cache after settings and the content of files.

    Any change gives another name, so that a run never continues from a wrong state.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in files:
        digest.update(sha256_of(path).encode())
    return digest.hexdigest()[:16]


def declared_stage(stage: str, pipeline: Path = Path("dvc.yaml")) -> dict[str, Any]:
    """Return what a pipeline's file declares for a stage.

    Raises:
        UserError: if the file is missing.
    """
    if not pipeline.is_file():
        raise UserError(f"{pipeline}: not found, expected the pipeline: run it in its folder")
    declared: dict[str, Any] = yaml.safe_load(pipeline.read_text())["stages"][stage]
    return declared


def stage_key(stage: str, pipeline: Path = Path("dvc.yaml")) -> str:
    """Name a run of a DVC stage after the content of its `deps` and the values of its `params`.

    So an unfinished run continues exactly if DVC would call it the same run.

    Args:
        pipeline: the file that declares the stage; its folder has params.yaml, and the stage's
            paths are relative to it.
    """
    root = pipeline.parent
    declared = declared_stage(stage, pipeline)
    params = yaml.safe_load((root / "params.yaml").read_text())
    tracked = {name: _value(params, name) for name in declared["params"]}
    return run_key([stage, tracked], _files(root / dep for dep in declared["deps"]))


def _value(params: Mapping[str, Any], name: str) -> Any:
    value: Any = params
    for part in name.split("."):
        value = value[part]
    return value


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files, and those in the folders, in the same order everywhere.

    Raises:
        UserError: naming what is missing.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: not found; `dvc repro` makes it")
        below = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        yield from (p for p in below if "__pycache__" not in p.parts)


@contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold the lock of an entry in the work folder; the system frees it when the process ends.

    Args:
        busy: the message if another process holds it; None: wait until it is free.

    Raises:
        UserError: with `busy`.
    """
    lock = path.parent / ".locks" / f"{path.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=-1 if busy is None else 0):
            yield
    except Timeout:
        raise UserError(f"{path}: {busy}") from None


def check_disk(folder: Path, needed_bytes: int, what: str) -> str:
    """Reject what the disk can't hold; return a line that says how much it will be.

    Args:
        folder: where it will be written.
        what: its name, for the messages.

    Raises:
        UserError: with the bytes that are needed and free, and how to free more.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if needed_bytes > free:
        raise UserError(
            f"{folder}: {what} will take {human_bytes(needed_bytes)}, but the disk has "
            f"{human_bytes(free)} free; older runs may have left .dcde/latents, which you can "
            "remove"
        )
    return f"{what} will take {human_bytes(needed_bytes)} in {folder}"


def human_bytes(count: int) -> str:
    """Format a number of bytes for people, in powers of 1000.

    >>> human_bytes(7_100_000_000)
    '7.1 GB'
    """
    value, units = float(count), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if value < 1000 or unit == units[-1]:
            break
        value /= 1000
    return f"{value:.3g} {unit}"
