"""Which files of a folder are its images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.folder import list_images


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_links_are_followed_once_and_hidden_files_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    own = picture(folder / "class_b/1.jpg")
    picture(tmp_path / "elsewhere/2.JPEG")
    (folder / "class_a").symlink_to(tmp_path / "elsewhere")
    (folder / "class_b/up").symlink_to(folder)  # a loop
    (folder / "._1.jpg").write_bytes(b"macOS")
    picture(folder / ".thumbnails/1.jpg")
    assert list_images(folder) == [folder / "class_a/2.JPEG", own]


def test_images_of_other_kinds_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tif", "b.TIF", "c.gif", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"no image found \(but 1 \.gif, 2 \.tif\), expected files"):
        list_images(tmp_path)
    assert list_images(picture(tmp_path / "d.png").parent) == [tmp_path / "d.png"]
    assert "skipped 1 .gif, 2 .tif, which we don't read; we read .jpg" in capsys.readouterr().out


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(UserError, match=r"photo\.png: is a file, expected a folder of images"):
        list_images(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"data\.source: .*nowhere: not found, expected a folder"):
        list_images(tmp_path / "nowhere", "data.source")
