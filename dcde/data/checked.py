"""Photos that were read in full once, so that the check of a huge folder is not begun anew.

They are lines of a file in the work folder, to which a check that goes on adds. A photo whose file
is as it was then, by its size and time, is not read again. Bad files are not among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class CheckedPhoto(NamedTuple):
    """A photo's size in pixels, and the stamp that its file had when it was read."""

    path: str
    file_bytes: int
    changed_ns: int
    width: int
    height: int


def read_checked(lines: Path) -> dict[str, CheckedPhoto]:
    """What is known, by path; nothing where there is no such file yet."""
    if not lines.is_file():
        return {}
    known = {}
    with lines.open(errors="replace") as file:
        for line in file:
            try:
                photo = CheckedPhoto(*json.loads(line))
            except (ValueError, TypeError):  # a kill cut it off
                continue
            known[photo.path] = photo
    return known


def add_checked(lines: Path, photos: Iterable[CheckedPhoto]) -> None:
    """Add photos."""
    lines.parent.mkdir(parents=True, exist_ok=True)
    with lines.open("a") as file:
        file.writelines(json.dumps(photo) + "\n" for photo in photos)
