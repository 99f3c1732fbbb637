"""Bad images are named, a stopped check continues, and a changed folder is noticed."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.check import check_images, read_record
from dcde.data.folder import Photo, list_images
from dcde.data.manifest import Manifest
from dcde.data.prepare import prepare_photos
from dcde.params.training import DataParams

ODD_NAME = 'b,"c\nd.png'
NOT_UTF_8 = os.fsdecode(b"\xff.png")


def picture(path: Path, size: tuple[int, int] = (20, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", ODD_NAME, "e.png"):
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


def floating_point(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(path, format="TIFF")


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "text": ("not a readable image", lambda path: path.write_text("no picture")),
    "cut off": ("not a readable image", lambda path: path.write_bytes(path.read_bytes()[:50])),
    "floats": ("found floating-point pixels, expected 8 or 16 bits", floating_point),
    "line": (
        "found 6000 x 1 pixels, expected a shape at most 32 times as long",
        lambda path: picture(path, (6000, 1)),
    ),
    "huge": (
        "found 10000 x 10000 pixels, expected at most 89.5 megapixels",
        lambda path: Image.new("1", (10_000, 10_000)).save(path),
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named_and_skipped(
    kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, spoil = BAD[kind]
    spoil(folder / "a.png")
    for _ in range(2):  # also when the check is repeated
        photos = check_images(list_images(folder), tmp_path / "record.jsonl")
        assert photos == [Photo(str(folder / name), 20, 10) for name in (ODD_NAME, "e.png")]
        said = capsys.readouterr().out
        assert "a.png: " in said and message in said
    with pytest.raises(UserError, match="none of the 1 images could be read, the first"):
        check_images([folder / "a.png"])


def test_a_name_that_is_not_utf_8_is_bad(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(folder / NOT_UTF_8)
    assert len(check_images(list_images(folder))) == 3
    assert r"\xff.png: found a name that is not UTF-8" in capsys.readouterr().out


def spoil(photo: Path) -> None:
    """Damage a photo without changing its size or time."""
    status = photo.stat()
    photo.write_bytes(b"x" * status.st_size)
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_check_continues_and_reads_what_changed(folder: Path, tmp_path: Path) -> None:
    record, paths = tmp_path / "work/record.jsonl", list_images(folder)
    first = check_images(paths[:2], record)
    for photo in paths[:2]:
        spoil(photo)
    third = Photo(str(paths[2]), 20, 10)
    assert check_images(paths, record) == [*first, third]
    assert len(record.read_text().splitlines()) == 3  # no file twice
    os.utime(paths[0])
    picture(paths[1], (12, 34))
    assert check_images(paths, record) == [Photo(str(paths[1]), 12, 34), third]


@pytest.mark.parametrize("left", [0, 1, 5, 20, -2, -1])
def test_a_line_cut_off_by_a_kill_is_read_again(folder: Path, tmp_path: Path, left: int) -> None:
    record, paths = tmp_path / "record.jsonl", list_images(folder)
    photos = check_images(paths, record)
    first, _, third = record.read_text().splitlines(keepends=True)
    record.write_text(first + third[:left])
    assert check_images(paths, record) == photos
    check_images(paths, record)  # the line after the cut one was lost with it
    assert set(read_record(record)) == {str(path) for path in paths}


@pytest.fixture
def prepared(in_folder: Path) -> tuple[Path, Path]:
    """A folder of photos behind a link, one name not UTF-8, and their manifest."""
    for name in ("a.png", "b/c.png", "b/d.png", "b/bad.png"):
        picture(in_folder / "elsewhere" / name)
    (in_folder / "elsewhere/b/bad.png").write_text("no picture")
    picture(in_folder / "elsewhere/b" / NOT_UTF_8)
    (in_folder / "photos").symlink_to("elsewhere")
    manifest = in_folder / "data/manifest.json"
    prepare_photos(DataParams(source=str(in_folder / "photos"), eval_size=32), manifest)
    return in_folder / "elsewhere", manifest


def test_a_link_that_leads_elsewhere_is_named(prepared: tuple[Path, Path]) -> None:
    """Even if the photos there have the same names, sizes and times."""
    folder, manifest = prepared
    (folder / "notes.txt").touch()
    shutil.copytree(folder, folder.parent / "other", copy_function=shutil.copy2)
    link = folder.parent / "photos"
    link.unlink()
    assert len(Manifest.load(manifest).train) == 2  # another machine may not have the link
    link.symlink_to("other")
    expected = r"data\.source: .*/photos leads to .*/other now, and prepare_data read .*/elsewhere;"
    with pytest.raises(UserError, match=expected):
        Manifest.load(manifest)
    link.unlink()
    link.symlink_to("elsewhere")
    assert len(Manifest.load(manifest).train) == 2


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("b/c.png has changed since", lambda folder: picture(folder / "b/c.png", (10, 20))),
    ("b/c.png has changed since", lambda folder: os.utime(folder / "b/c.png", (0, 0))),
    ("b/c.png is gone since", lambda folder: (folder / "b/c.png").unlink()),
    (r"b/\xff.png is gone since", lambda folder: (folder / "b" / NOT_UTF_8).unlink()),
    ("b/e.png is new since", lambda folder: picture(folder / "b/e.png")),
    ("a.png is gone since", lambda folder: folder.rename(folder.parent / "moved")),
]


@pytest.mark.parametrize(("message", "change"), CHANGES)
def test_a_change_is_named(
    message: str, change: Callable[[Path], object], prepared: tuple[Path, Path]
) -> None:
    folder, manifest = prepared
    change(folder)
    rest = r".*\(and 4 more differ\)" if "a.png" in message else ""
    expected = rf"data\.source: .*{re.escape(message)}.*{rest}.*dvc repro -f prepare_data"
    with pytest.raises(UserError, match=expected):
        Manifest.load(manifest)
