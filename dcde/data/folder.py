"""Find the images of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from dcde.base.errors import UserError
from dcde.base.work import left_behind

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
    *(".jpg_large", ".jpg-large", ".jpg_orig", ".png", ".webp", ".bmp"),
)
FORMATS = "JPEG, PNG, WebP and BMP"
"""The formats of these; others are animated or need a library of their own."""
KINDS_COUNTED = 5
"""Kinds of other files that a message counts one by one."""
USES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Usual names of a data set's folders; with digits behind them too, as in COCO's train2017."""


class Photo(NamedTuple):
    """A readable image file, with its size in pixels."""

    path: str
    width: int
    height: int


def list_images(folder: Path, field: str | None = None) -> list[Path]:
    """Return all image files under a folder, sorted; ImageNet's `<wnid>/*.JPEG` included.

    Links to folders are followed. Hidden files and folders are left out, such as `._photo.jpg`,
    which macOS puts beside a photo. A message counts all other files that are passed over.

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
    others = _counts(path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES)
    if not paths:
        found = f" (but {others})" if others else ""
        raise UserError(f"{named}: no image found{found}, expected files in {FORMATS}")
    if others:
        tqdm.write(f"{folder}: passed over {others}; we read {FORMATS}")
    return paths


def _counts(files: Iterable[Path]) -> str:
    """Count files by their suffixes, the most common first."""
    counts = Counter(path.suffix.lower() or "without a suffix" for path in files)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{count} {suffix}" for suffix, count in ranked[:KINDS_COUNTED]]
    rest = sum(count for _, count in ranked[KINDS_COUNTED:])
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


class Parts(NamedTuple):
    """The folders of a data set by their use."""

    train: list[Path]
    val: list[Path]
    """Empty: some of the photos of `train` are for evaluation."""
    said: str
    """What is used for what, for people."""


def parts(folder: Path) -> Parts:
    """Find the folders to train on and to evaluate on by their names, in any case.

    Photos of a test set are never trained on; they are for evaluation only if no other folder is.

    Raises:
        UserError: for a test set without a folder to train on.
    """
    found: dict[str, list[Path]] = {"train": [], "val": [], "test": [], "other": []}
    for below in _visible_folders(folder):
        found[USES.get(below.name.lower().rstrip("0123456789"), "other")].append(below)
    train, val, test, other = found.values()
    if test and not train:
        raise UserError(
            f"data.source: found {test[0]}, but no train/ beside it, expected train/ and val/, or "
            "the folder itself that you want to train on"
        )
    if not train or not (val or test):
        return Parts([folder], [], "no train/ and val/: some of all photos are for evaluation")
    left = [*test, *other] if val else other
    said = f"{_names(train)} for training, {_names(val or test)} for evaluation"
    return Parts(train, val or test, f"{said}, {_names(left)} left out" if left else said)


def _visible_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and not e.name.startswith("."))


def _names(folders: list[Path]) -> str:
    names = [f"{folder.name}/" for folder in folders]
    return ", ".join(names if len(names) < 5 else [*names[:3], f"{len(names) - 3} other folders"])


def image_files(folder: Path) -> list[str]:
    """Return the image files in the folder's parts, unsorted; none if the folder is gone."""
    found = parts(folder)
    return [
        path
        for part in (*found.train, *found.val)
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
