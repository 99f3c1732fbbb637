"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from dcde.base.errors import UserError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it is flushed to disk and becomes `path` by a rename.

    A kill or a full disk leaves what was at `path` before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _private(path, "partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it replaces `path` by a rename.

    A kill leaves the old folder or the new one, or between two renames none, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _private(path, "partial"), path.with_name(path.name + ".old")
    if old.exists() and not path.exists():
        old.rename(path)  # what a kill between the renames left
    shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb+") as opened:
                    os.fsync(opened.fileno())
        if path.exists():
            path.rename(old)
        partial.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _private(path: Path, suffix: str) -> Path:
    """A name beside `path` that no other process uses; what killed processes left there is removed.

    Which process a name belongs to is only known on its own machine, so those of other machines,
    which a shared disk shows too, stay.
    """
    machine = f".{path.name}.{platform.node()}-"
    for left in path.parent.glob(f"{glob.escape(machine)}*.{suffix}"):
        process = left.name.removeprefix(machine).removesuffix(f".{suffix}")
        if process == str(os.getpid()) or not psutil.pid_exists(int(process)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f"{machine}{os.getpid()}.{suffix}")


def check_new(folder: Path, field: str) -> None:
    """Refuse to fill a folder that holds something, as `whole_folder` would replace it.

    Raises:
        UserError: naming `field`, if it is a file or not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{field}: found {folder}, which already exists; expected a new or empty folder"
        )


def file_stamp(path: Path | str) -> tuple[int, int]:
    """Bytes and time of change in nanoseconds: what tells a changed file without reading it."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
