"""Which files of a folder are its images."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.crops import eval_crops, load_crop
from dcde.data.folder import MAX_ASPECT, MAX_PHOTO_PIXELS, check_images, list_images
from tests.helpers.tiny import ROOT, run


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_folders_that_are_links_are_followed_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    own = picture(folder / "class_b/1.jpg")
    picture(tmp_path / "elsewhere/2.JPEG")
    (folder / "class_a").symlink_to(tmp_path / "elsewhere")
    (folder / "class_b/up").symlink_to(folder)  # a loop
    assert list_images(folder) == [folder / "class_a/2.JPEG", own]


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    shown = picture(tmp_path / "1.jpg")
    (tmp_path / "._1.jpg").write_bytes(b"macOS")
    picture(tmp_path / ".thumbnails/1.jpg")
    assert list_images(tmp_path) == [shown]


def test_images_of_other_kinds_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tif", "b.TIF", "c.gif"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"no image found \(but 1 \.gif, 2 \.tif\), expected files"):
        list_images(tmp_path)
    shown = picture(tmp_path / "d.png")
    (tmp_path / "notes.txt").touch()
    assert list_images(tmp_path) == [shown]
    assert "passed over: 1 .gif, 2 .tif; those that are read: .jpg" in capsys.readouterr().out


def test_extreme_shapes_are_bad_images(tmp_path: Path) -> None:
    for name, size in (("line.png", (6000, 1)), ("strip.png", (8, 256))):
        Image.new("RGB", size).save(tmp_path / name)
    with pytest.raises(
        UserError, match=r"line\.png: found 6000 x 1 pixels, expected a shape at most 32 times as"
    ):
        check_images(list_images(tmp_path))
    (photo,) = check_images(list_images(tmp_path))
    assert Path(photo.path).name == "strip.png"
    assert load_crop(eval_crops(photo, 256, 1)[0]).shape == (3, 256, 256)  # 256 x 8192, cut


PEAK = """
import re, sys
from pathlib import Path
from dcde.data.crops import eval_crops, load_crop
from dcde.data.folder import check_images

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

before = peak_mb()
for name in sys.argv[1:]:
    (photo,) = check_images([Path(name)])
    for crop in eval_crops(photo, 512, 2):
        assert load_crop(crop).shape == (3, 512, 512)
print(peak_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_memory_that_any_one_photo_takes_is_bounded(tmp_path: Path) -> None:
    """The largest and the longest that are let in: 358 MB, as Pillow has 4 bytes for a pixel.

    What the check of a photo took is not given back to the system before it is read again.
    """
    side = int(MAX_PHOTO_PIXELS**0.5)
    longest = int((MAX_PHOTO_PIXELS / MAX_ASPECT) ** 0.5)
    shapes = [(side, side), (longest * MAX_ASPECT, longest), (MAX_ASPECT, 1), (20 * MAX_ASPECT, 20)]
    for i, shape in enumerate(shapes):
        Image.new("RGB", shape).save(tmp_path / f"{i}.png", compress_level=1)
    names = [str(tmp_path / f"{i}.png") for i in range(len(shapes))]
    done = run([sys.executable, "-c", PEAK, *names], ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.4 * 358, done.stdout


def test_a_name_that_is_not_utf_8_is_named_at_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = picture(tmp_path / "gut \u00fc.jpg"), os.fsdecode(b"schlecht \xfc.jpg")
    picture(tmp_path / bad)
    message = r"schlecht \xfc.jpg: found a name that is not UTF-8"
    with pytest.raises(UserError, match=re.escape(message)):
        check_images(list_images(tmp_path))
    capsys.readouterr()
    assert [photo.path for photo in check_images(list_images(tmp_path))] == [str(good)]
    assert message in capsys.readouterr().out


def test_a_file_in_place_of_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(UserError, match=r"photo\.png: is a file, expected a folder of images"):
        list_images(tmp_path / "photo.png")
