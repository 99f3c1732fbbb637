"""Read every image of a folder once, and notice later if a file has changed since.

A record has a line of JSON for each file: its name, its size and time, and the picture's size. A
record in the work folder lets an interrupted check continue. Another one lies beside the manifest
and begins with a line that names the folder, and where that name led: DVC knows the folder by its
name alone, so later stages look where it leads now, and compare its files with this record.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from dcde.base.errors import UserError
from dcde.base.files import file_stamp
from dcde.data.folder import Photo, image_files
from dcde.data.pixels import to_rgb

MAX_PHOTO_PIXELS = 89_478_485
"""Largest photo of a data set; Pillow's own limit for what may be an attack."""
MAX_ASPECT = 32
"""Longest shape of a photo. A crop as wide as its shorter side needs the whole of it resized."""
GONE = (-1, -1)
"""Stamp of a file that is not there."""


class FileSeen(NamedTuple):
    """A file's stamp when it was read, and the picture's size; 0 x 0 if it can't be used."""

    path: str
    file_bytes: int
    changed_ns: int
    width: int = 0
    height: int = 0

    @property
    def stamp(self) -> tuple[int, int]:
        return self.file_bytes, self.changed_ns


def check_images(paths: Sequence[Path], record: Path | None = None) -> list[Photo]:
    """Decode every file, so that no bad one surfaces in the middle of a long run.

    Bad files are reported by name and skipped.

    Args:
        record: files that are in it unchanged are not read again; the others are added to it.

    Raises:
        UserError: if no file can be read.
    """
    known = {} if record is None else read_record(record)
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
    photos: list[Photo] = []
    bad: list[str] = []
    with (
        warnings.catch_warnings(),
        ThreadPool() as pool,  # Pillow decodes without Python's lock
        record.open("a") if record else nullcontext() as file,
        tqdm(total=len(paths), desc="check images", unit="image", smoothing=0.05) as bar,
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_read` reports these
        pairs = ((path, known.get(str(path))) for path in paths)
        for seen, fault in pool.imap(lambda pair: _read(*pair), pairs):
            if fault is None:
                photos.append(Photo(seen.path, seen.width, seen.height))
            else:
                bad.append(fault)
            if file is not None and seen != known.get(seen.path):
                file.write(json.dumps(seen) + "\n")
            bar.update()
    for fault in bad:
        tqdm.write(fault)
    if not photos:
        raise UserError(f"none of the {len(paths)} images could be read, the first: {bad[0]}")
    return photos


def _read(path: Path, known: FileSeen | None) -> tuple[FileSeen, str | None]:
    """Return what was seen, and what is wrong with the file, if anything."""
    seen = FileSeen(str(path), *_stamp(path))
    if (shown := _printable(path)) != str(path):
        return seen, f"{shown}: found a name that is not UTF-8, expected one that tables can hold"
    if known is not None and known.width and known.stamp == seen.stamp:
        return known, None
    try:
        with Image.open(path) as image:
            width, height = image.size
            limit = _limit_passed(width, height)
            if limit is None:
                to_rgb(image)
                return seen._replace(width=width, height=height), None
    except Exception as error:  # Pillow raises many types for files that are not images
        return seen, f"{path}: not a readable image ({error})"
    return seen, f"{path}: found {width} x {height} pixels, expected {limit}"


def _limit_passed(width: int, height: int) -> str | None:
    """Return the limit that a size exceeds; limits bound the memory that a crop takes."""
    if width * height > MAX_PHOTO_PIXELS:
        return f"at most {MAX_PHOTO_PIXELS / 1e6:.1f} megapixels"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"a shape at most {MAX_ASPECT} times as long as it is wide"
    return None


def read_record(record: Path) -> dict[str, FileSeen]:
    """Return a record's entries by path; none if there is no such file yet."""
    known: dict[str, FileSeen] = {}
    if record.is_file():
        with record.open(errors="replace") as lines:
            for line in lines:
                try:
                    seen = FileSeen(*json.loads(line))
                except (ValueError, TypeError):  # a kill cut the line off
                    continue
                known[seen.path] = seen
    return known


def save_record(named: Path, record: Path, path: Path) -> None:
    """Write what a record knows about the folder's present files, for `check_unchanged`.

    Args:
        named: the folder as the user names it, which may lead to it through links.
    """
    known, folder = read_record(record), named.resolve()
    with path.open("w") as file:
        file.write(json.dumps([str(named.absolute()), str(folder)]) + "\n")
        file.writelines(json.dumps(known[p]) + "\n" for p in image_files(folder) if p in known)


def check_unchanged(record: Path) -> None:
    """Reject a folder whose image files differ from those that `save_record` wrote.

    Raises:
        UserError: naming where the folder's name leads now, or the first file that was added,
            removed or changed, and how many were.
    """
    with record.open() as lines:
        names = json.loads(next(lines))
    named, folder = Path(names[0]), Path(names[-1])  # older records have only the folder
    if named.exists() and named.resolve() != folder:
        raise UserError(
            f"data.source: {named} leads to {named.resolve()} now, and prepare_data read {folder}; "
            "`dvc repro -f prepare_data` reads the other"
        )
    before = {path: seen.stamp for path, seen in read_record(record).items()}
    now = _stamps({*before, *image_files(folder)})
    others = sorted(path for path, stamp in now.items() if stamp != before.get(path, GONE))
    if others:
        first = others[0]
        known = "has changed" if first in before else "is new"
        what = "is gone" if now[first] == GONE else known
        rest = f" (and {len(others) - 1} more differ)" if others[1:] else ""
        raise UserError(
            f"data.source: {_printable(first)} {what} since prepare_data read the folder{rest}; "
            "`dvc repro -f prepare_data` reads it again"
        )


def _stamps(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    names = list(paths)
    with ThreadPool() as pool:  # a network disk answers slowly
        return dict(zip(names, pool.map(_stamp, names, chunksize=1000), strict=True))


def _stamp(path: Path | str) -> tuple[int, int]:
    try:
        return file_stamp(path)
    except OSError:
        return GONE


def _printable(path: Path | str) -> str:
    """Return a path as text; bytes that are not UTF-8, which Linux allows, are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")
