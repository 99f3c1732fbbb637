"""Photos that change after prepare_data looked at them are refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.folder import check_images, list_images
from dcde.data.manifest import FILES, Manifest
from dcde.data.recorded import record_files

NOT_UTF_8 = os.fsdecode(b"b/\xff.png")


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of photos, and the manifest of it."""
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b/c.png", "b/d.png", NOT_UTF_8):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10)).save(folder / name)
    (tmp_path / "data").mkdir()
    record_files(folder, tmp_path / "data" / FILES)
    manifest = tmp_path / "data/manifest.json"
    Manifest(tuple(check_images(list_images(folder))), ()).save(manifest)
    return folder, manifest


def test_photos_as_they_were_are_read(prepared: tuple[Path, Path]) -> None:
    folder, manifest = prepared
    assert len(Manifest.load(manifest).train) == 3
    (folder / "notes.txt").touch()  # no image
    assert len(Manifest.load(manifest).train) == 3


def replace(folder: Path) -> None:
    Image.new("RGB", (10, 20)).save(folder / "b/c.png")


def touch(folder: Path) -> None:
    os.utime(folder / "b/c.png", (0, 0))


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("b/c.png is changed", replace),
    ("b/c.png is changed", touch),
    ("b/c.png is gone", lambda folder: (folder / "b/c.png").unlink()),
    (r"b/\\xff.png is gone", lambda folder: (folder / NOT_UTF_8).unlink()),
    ("b/e.png is new", lambda folder: Image.new("RGB", (8, 8)).save(folder / "b/e.png")),
    ("a.jpg is gone .* and 3 more", lambda folder: folder.rename(folder.parent / "elsewhere")),
]


@pytest.mark.parametrize(("message", "change"), CHANGES)
def test_what_is_not_as_it_was_is_named(
    message: str, change: Callable[[Path], object], prepared: tuple[Path, Path]
) -> None:
    folder, manifest = prepared
    change(folder)
    with pytest.raises(UserError, match=rf"data\.source: .*{message}.*dvc repro -f prepare_data"):
        Manifest.load(manifest)
