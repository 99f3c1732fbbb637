"""Find the images of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from dcde.base.errors import UserError
from dcde.base.work import left_behind

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
OTHER_IMAGES = (".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff")
"""Images that we don't read: they are animated or need a library of their own."""


class Photo(NamedTuple):
    """A readable image file, with its size in pixels."""

    path: str
    width: int
    height: int


def list_images(folder: Path, field: str | None = None) -> list[Path]:
    """Return all image files under a folder, sorted; ImageNet's `<wnid>/*.JPEG` included.

    Links to folders are followed. Hidden files and folders are left out, such as `._photo.jpg`,
    which macOS puts beside a photo. A message counts the images of other kinds.

    Args:
        field: the parameter or option that names the folder, for the messages.

    Raises:
        UserError: if the folder is missing or holds no image.
    """
    named = f"{field}: {folder}" if field else str(folder)
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "not found"
        raise UserError(f"{named}: {found}, expected a folder of images{left_behind(folder)}")
    files = sorted(map(Path, _visible_files(folder)))
    paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    counts = Counter(s for path in files if (s := path.suffix.lower()) in OTHER_IMAGES)
    others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    suffixes = ", ".join(IMAGE_SUFFIXES)
    if not paths:
        found = f" (but {others})" if others else ""
        raise UserError(f"{named}: no image found{found}, expected files {suffixes}")
    if others:
        tqdm.write(f"{folder}: skipped {others}, which we don't read; we read {suffixes}")
    return paths


def parts(folder: Path) -> list[Path]:
    """Return the folder's `train` and `val` if it has both, otherwise the folder itself."""
    split = [folder / "train", folder / "val"]
    return split if all(part.is_dir() for part in split) else [folder]


def image_files(folder: Path) -> list[str]:
    """Return the image files in the folder's parts, unsorted; none if the folder is gone."""
    return [
        path
        for part in parts(folder)
        for path in _visible_files(part)
        if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES
    ]


def _visible_files(folder: Path) -> Iterator[str]:
    seen = set()  # a link may lead back to a folder above it
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in names if not name.startswith("."))
