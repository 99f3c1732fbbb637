"""Folders of images: finding the files, checking each of them once, splitting them."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from dcde.base.errors import UserError
from dcde.base.files import file_stamp
from dcde.data.checked import CheckedPhoto, add_checked, read_checked
from dcde.data.pixels import to_rgb

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
OTHER_IMAGES = (".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff")
"""Of images that are not read: their pixels are animated, or need a library of their own."""


class Photo(NamedTuple):
    """An image file that was read in full once, with its size in pixels."""

    path: str
    width: int
    height: int


def list_images(folder: Path, field: str | None = None) -> list[Path]:
    """All image files under a folder, sorted; ImageNet's `<wnid>/*.JPEG` included.

    Folders that are links are followed. Hidden files and folders are none of the images, such as
    `._photo.jpg`, which macOS leaves beside a photo. Images of other kinds are counted and named.

    Args:
        field: what names the folder, for the messages.

    Raises:
        UserError: if the folder is missing or holds no image.
    """
    named = f"{field}: {folder}" if field else str(folder)
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "not found"
        raise UserError(f"{named}: {found}, expected a folder of images")
    files = sorted(map(Path, _visible_files(folder)))
    paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    others = Counter(s for path in files if (s := path.suffix.lower()) in OTHER_IMAGES)
    passed_over = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    if not paths:
        found = f" (but {passed_over})" if others else ""
        raise UserError(
            f"{named}: no image found{found}, expected files {', '.join(IMAGE_SUFFIXES)}"
        )
    if others:
        tqdm.write(
            f"{folder}: images of kinds that are not read are passed over: {passed_over}; "
            f"those that are read: {', '.join(IMAGE_SUFFIXES)}"
        )
    return paths


def image_files(folder: Path) -> list[str]:
    """All that `split_photos` looks at, in no order; none where the folder is gone."""
    return [
        path
        for part in _parts(folder)
        for path in _visible_files(part)
        if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES
    ]


def _parts(folder: Path) -> list[Path]:
    """`train` and `val` below the folder where it has both, or itself."""
    parts = [folder / "train", folder / "val"]
    return parts if all(part.is_dir() for part in parts) else [folder]


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


def printable(path: Path | str) -> str:
    """A path as text: bytes of its name that are not UTF-8, which Linux allows, are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


SOURCE = "data.source"
"""The parameter that names the folder which is split."""

MAX_PHOTO_PIXELS = 89_478_485
"""Largest photo of a data set; Pillow's own limit for what may be an attack."""

MAX_ASPECT = 32
"""Longest shape of a photo: a crop as wide as its shorter side needs the whole of it resized."""

SAVED_TOGETHER = 1000
"""Photos of a check that are put down as read at a time: a second's work on two cores."""


def _read(path: Path, known: CheckedPhoto | None) -> CheckedPhoto | str:
    """Its size, or what is wrong with it; not read again where it is known as it is now."""
    if (shown := printable(path)) != str(path):
        return f"{shown}: found a name that is not UTF-8, expected one that tables can hold"
    try:
        stamp = file_stamp(path)
        if known is not None and (known.file_bytes, known.changed_ns) == stamp:
            return known
        with Image.open(path) as image:
            width, height = image.size
            limit = _limit_passed(width, height)
            if limit is None:
                to_rgb(image)
                return CheckedPhoto(str(path), *stamp, width, height)
    except Exception as error:  # Pillow raises many types for files that are not images
        return f"{path}: not a readable image ({error})"
    return f"{path}: found {width} x {height} pixels, expected {limit}"


def _limit_passed(width: int, height: int) -> str | None:
    """What is expected where a size is past a limit; these bound the memory that a crop takes."""
    if width * height > MAX_PHOTO_PIXELS:
        return f"at most {MAX_PHOTO_PIXELS / 1e6:.1f} megapixels"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"a shape at most {MAX_ASPECT} times as long as it is wide"
    return None


def check_images(paths: Sequence[Path], checked: Path | None = None) -> list[Photo]:
    """Decode every file once, so that no bad one surfaces in the middle of a long run.

    Bad files are reported by name and skipped.

    Args:
        checked: keeps a record of the files that were read, so that an interrupted check continues
            where it stopped (see `dcde.data.checked`).

    Raises:
        UserError: if no file can be read.
    """
    known = {} if checked is None else read_checked(checked)
    photos: list[Photo] = []
    bad: list[str] = []
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor() as pool,  # decoding leaves Python's lock
        tqdm(total=len(paths), desc="check images", unit="image", smoothing=0.05) as bar,
    ):
        # Pillow's word about huge pictures, which `_read` names.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for start in range(0, len(paths), SAVED_TOGETHER):
            some = paths[start : start + SAVED_TOGETHER]
            results = []
            for result in pool.map(_read, some, (known.get(str(path)) for path in some)):
                results.append(result)
                bar.update()
            found = [r for r in results if not isinstance(r, str)]
            photos += [Photo(r.path, r.width, r.height) for r in found]
            bad += [r for r in results if isinstance(r, str)]
            if checked is not None:
                add_checked(checked, [r for r in found if r != known.get(r.path)])
    for message in bad:
        tqdm.write(message)
    if not photos:
        raise UserError(f"none of the {len(paths)} images could be read, the first: {bad[0]}")
    return photos


def split_photos(
    folder: Path, val_fraction: float, checked: Path | None = None
) -> tuple[list[Photo], list[Photo]]:
    """Return the photos for training and for evaluation: those of `train` and `val`, or shares.

    Without these two folders, the photos with the smallest hashes are for evaluation: the choice is
    the same on every machine, and stable when photos are added.

    Args:
        checked: see `check_images`.

    Raises:
        UserError: if there are too few images to split.
    """
    photos, *evaluation = (
        check_images(list_images(part, SOURCE), checked) for part in _parts(folder)
    )
    if evaluation:
        return photos, evaluation[0]
    _, n_val = _shares(folder, len(photos), val_fraction)

    def rank(photo: Photo) -> bytes:
        return hashlib.sha256(str(Path(photo.path).relative_to(folder)).encode()).digest()

    ranked = sorted(photos, key=rank)
    held_out = set(ranked[:n_val])
    return [p for p in photos if p not in held_out], [p for p in photos if p in held_out]


def split_counts(folder: Path, val_fraction: float) -> tuple[int, int]:
    """Count the photos that `split_photos` returns if all can be read; opens none.

    Raises:
        UserError: if there are too few images to split.
    """
    photos, *evaluation = (len(list_images(part, SOURCE)) for part in _parts(folder))
    return (photos, evaluation[0]) if evaluation else _shares(folder, photos, val_fraction)


def _shares(folder: Path, photos: int, val_fraction: float) -> tuple[int, int]:
    if photos < 2:
        raise UserError(
            f"{SOURCE}: {folder}: found 1 readable image, expected at least 2 to split into "
            "train and val"
        )
    n_val = min(photos - 1, max(1, round(photos * val_fraction)))
    return photos - n_val, n_val
