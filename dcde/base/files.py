"""Write files and folders that appear whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from dcde.base.errors import UserError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an empty file to write; on success, flush it to disk and rename it to `path`.

    After a kill or on a full disk, `path` is as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _private(path, "partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        _share(partial, mode)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success, rename it to `path`.

    A kill leaves the old or the new folder, or none between two renames, but never a part of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _private(path, "partial"), path.with_name(path.name + ".old")
    if old.exists() and not path.exists():
        old.rename(path)  # a kill came between the renames
    shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    try:
        mode = partial.stat().st_mode & 0o666
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _share(file, mode)
                with file.open("rb+") as opened:
                    os.fsync(opened.fileno())
        if path.exists():
            path.rename(old)
        partial.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _share(file: Path, mode: int) -> None:
    """Give a file the mode that the umask leaves; safetensors writes for the owner alone."""
    if mode & ~file.stat().st_mode:  # some file systems reject any change
        file.chmod(mode)


def _private(path: Path, suffix: str) -> Path:
    """Return a name beside `path` for this process alone; remove what killed processes left there.

    Files of other machines, on a shared disk, stay: we can't know if their processes are alive.
    """
    machine = f".{path.name}.{platform.node()}-"
    for left in path.parent.glob(f"{glob.escape(machine)}*.{suffix}"):
        process = left.name.removeprefix(machine).removesuffix(f".{suffix}")
        if process == str(os.getpid()) or not psutil.pid_exists(int(process)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f"{machine}{os.getpid()}.{suffix}")


def check_new(folder: Path, field: str) -> None:
    """Reject what `whole_folder` would replace: a file, or a folder with something in it.

    Raises:
        UserError: naming `field`; also if nothing can be written there.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{field}: found {folder}, which already exists; expected a new or empty folder"
        )
    check_writable(folder.parent, field)


def check_writable(folder: Path, field: str) -> None:
    """Reject a folder, or one yet to be made, that can't be written to.

    Trying it is the only way to know: the user, the disk and the network all have a say.

    Raises:
        UserError: naming `field`.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"{field}: can't write in {there.absolute()} ({error.strerror})") from None


def file_stamp(path: Path | str) -> tuple[int, int]:
    """Return size and time of change in nanoseconds, to notice a change without reading."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def sha256_of(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
