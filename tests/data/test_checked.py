"""The check of a folder that was stopped goes on where it was, and looks anew at what changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.checked import read_checked
from dcde.data.folder import Photo, check_images, list_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in ("a.png", 'b,"c\nd.png', "e.png"):
        Image.new("RGB", (20, 10)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def spoil(photo: Path) -> None:
    """Its bytes are no picture any more, and neither its size nor its time says so."""
    status = photo.stat()
    photo.write_bytes(b"x" * status.st_size)
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_read_is_not_read_again(folder: Path, tmp_path: Path) -> None:
    checked, paths = tmp_path / "work/checked.jsonl", list_images(folder)
    first = check_images(paths[:2], "refuse", checked)
    for photo in paths[:2]:
        spoil(photo)
    photos = check_images(paths, "refuse", checked)
    assert photos == [*first, Photo(str(paths[2]), 20, 10)]
    assert len(checked.read_text().splitlines()) == 3  # nothing is put down twice
    with pytest.raises(UserError, match="not a readable image"):
        check_images(paths)


def test_what_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    checked, paths = tmp_path / "checked.jsonl", list_images(folder)
    check_images(paths, "refuse", checked)
    Image.new("RGB", (12, 34)).save(paths[0])
    assert check_images(paths, "refuse", checked)[0] == Photo(str(paths[0]), 12, 34)
    spoil(paths[1])
    os.utime(paths[1])
    with pytest.raises(UserError, match="not a readable image"):
        check_images(paths, "refuse", checked)


def test_bad_ones_are_named_each_time(folder: Path, tmp_path: Path) -> None:
    (folder / "cut.png").write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(UserError, match=r"cut\.png: not a readable image"):
            check_images(list_images(folder), "refuse", tmp_path / "checked.jsonl")


@pytest.mark.parametrize("left", [0, 1, 5, 20, -2, -1])
def test_a_line_that_a_kill_cut_off_is_read_again(folder: Path, tmp_path: Path, left: int) -> None:
    checked, paths = tmp_path / "checked.jsonl", list_images(folder)
    photos = check_images(paths, "refuse", checked)
    first, _, third = checked.read_text().splitlines(keepends=True)
    checked.write_text(first + third[:left])
    assert check_images(paths, "refuse", checked) == photos
    # The line that follows a cut one is lost with it: the next check reads that photo once more.
    check_images(paths, "refuse", checked)
    assert set(read_checked(checked)) == {str(path) for path in paths}


def test_bytes_that_are_no_text_are_passed_over(folder: Path, tmp_path: Path) -> None:
    checked, paths = tmp_path / "checked.jsonl", list_images(folder)
    checked.write_bytes(b'\0\0\xff\n[1, 2]\n["x", 1, 2, 3, 4, 5]\n7\n')
    assert len(check_images(paths, "refuse", checked)) == 3
