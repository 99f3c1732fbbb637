"""Which files of a folder are its images."""

from pathlib import Path

import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.check import check_images
from dcde.data.folder import list_images, parts


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


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "jpg_large", "jpg-large", "pjpeg"])
def test_other_names_of_jpeg_are_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    picture(tmp_path / "a.jpg").rename(path)
    assert list_images(tmp_path) == [path]
    assert len(check_images([path])) == 1


def test_other_files_are_counted_by_suffix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tif", "b.TIF", "c.gif", "LICENSE", ".hidden", "d.1", "d.2", "d.3"):
        (tmp_path / name).touch()
    counts = "2 .tif, 1 .1, 1 .2, 1 .3, 1 .gif, 1 others"
    expected = rf"no image found \(but {counts}\), expected files in JPEG, PNG, WebP and BMP"
    with pytest.raises(UserError, match=expected):
        list_images(tmp_path)
    assert list_images(picture(tmp_path / "d.png").parent) == [tmp_path / "d.png"]
    assert f"passed over {counts}; we read JPEG, PNG" in capsys.readouterr().out
    list_images(picture(tmp_path / "below/e.png").parent)
    assert capsys.readouterr().out == ""


NO_PARTS = "no train/ and val/: some of all photos are for evaluation"
SPLITS = {
    "train validation test": "train/ for training, validation/ for evaluation, test/ left out",
    "Train VAL": "Train/ for training, VAL/ for evaluation",
    "training dev labels": "training/ for training, dev/ for evaluation, labels/ left out",
    "train2017 val2017": "train2017/ for training, val2017/ for evaluation",
    "train val validation": "train/ for training, val/, validation/ for evaluation",
    "train Test": "train/ for training, Test/ for evaluation",
    "train val .test": "train/ for training, val/ for evaluation",
    "a b c d e train valid": (
        "train/ for training, valid/ for evaluation, a/, b/, c/, 2 other folders left out"
    ),
    "bus car train": NO_PARTS,
    "testimony training_wheels": NO_PARTS,
    "": NO_PARTS,
}


@pytest.mark.parametrize("folders", SPLITS)
def test_usual_folder_names_are_recognized(folders: str, tmp_path: Path) -> None:
    for name in folders.split():
        picture(tmp_path / name / "a.png")
    picture(tmp_path / "val.png")
    found = parts(tmp_path)
    assert found.said == SPLITS[folders]
    train, val = (", ".join(f"{path.name}/" for path in use) for use in (found.train, found.val))
    if found.val:
        assert found.said.startswith(f"{train} for training, {val} for evaluation")
    else:
        assert found.train == [tmp_path]


@pytest.mark.parametrize("folders", ["test", "test val", "cat dog TEST"])
def test_a_test_set_is_not_trained_on(folders: str, tmp_path: Path) -> None:
    for name in folders.split():
        picture(tmp_path / name / "a.png")
    with pytest.raises(UserError, match=r"data\.source: found .*/(test|TEST), but no train/"):
        parts(tmp_path)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(UserError, match=r"photo\.png: is a file, expected a folder of images"):
        list_images(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"data\.source: .*nowhere: not found, expected a folder"):
        list_images(tmp_path / "nowhere", "data.source")
