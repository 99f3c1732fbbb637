"""Whether a folder of images is still what prepare_data looked at.

Later stages read photos where they lie, and DVC knows only that the folder has this name. So the
size and the time of each file are written down, and compared before a stage reads any of them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from dcde.base.errors import UserError
from dcde.base.files import file_stamp
from dcde.data.folder import image_files, printable

Stamp = tuple[str, str]
"""Bytes and time of change in nanoseconds; ("", "") for a file that is not there."""


def record_files(folder: Path, path: Path) -> None:
    """Write down all image files of a folder: a row with its name, then one for each of them."""
    folder = folder.resolve()
    with path.open("w", newline="", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow([folder, "", ""])
        rows.writerows((name, *stamp) for name, stamp in _stamps(image_files(folder)).items())


def check_files(path: Path) -> None:
    """Refuse a folder that is not as `record_files` wrote it down.

    Raises:
        UserError: naming the first file that was added, removed or changed, and how many there are.
    """
    with path.open(newline="", errors="surrogateescape") as file:
        (folder, *_), *rows = csv.reader(file)
    before: dict[str, Stamp] = {name: (size, time) for name, size, time in rows}
    now = _stamps({*before, *image_files(Path(folder))})
    missing = ("", "")
    others = sorted(name for name, stamp in now.items() if stamp != before.get(name, missing))
    if others:
        first = others[0]
        known = "changed" if first in before else "new"
        what = "gone" if now[first] == missing else known
        rest = f", and {len(others) - 1} more are not as they were" if others[1:] else ""
        raise UserError(
            f"data.source: {printable(first)} is {what} since prepare_data looked at it{rest}; "
            "`dvc repro -f prepare_data` looks again"
        )


def _stamps(names: Iterable[str]) -> dict[str, Stamp]:
    """The stamp of each file. Many are a task of one thread: a disk in a network answers slowly."""
    all_names = list(names)
    parts = [all_names[i : i + 1000] for i in range(0, len(all_names), 1000)]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda part: [_stamp(name) for name in part], parts)
        return dict(zip(all_names, chain.from_iterable(found), strict=True))


def _stamp(name: str) -> Stamp:
    try:
        size, time = file_stamp(name)
    except OSError:
        return "", ""
    return str(size), str(time)
