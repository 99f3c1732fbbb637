"""Finding, checking and cropping images; all draws from the seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.crops import Crop, eval_crops, load_crop, random_crop
from dcde.data.folder import Photo, check_images, list_images, split_photos
from dcde.data.manifest import Manifest
from dcde.data.pixels import to_model_range, to_uint8
from dcde.data.plan import plan_epoch
from dcde.params.training import CropParams

CROPS = CropParams(image_size=64, short_side=(64, 128), flip=True)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: not found"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="no image found"):
        list_images(tmp_path)


def damaged(photos: Path, folder: Path) -> Path:
    """Two good photos, a truncated one and a text file named as a picture."""
    for name in ("coffee.png", "rocket.jpg"):
        (folder / name).write_bytes((photos / name).read_bytes())
    (folder / "cut.jpg").write_bytes((photos / "rocket.jpg").read_bytes()[:5000])
    (folder / "text.png").write_text("not a picture")
    return folder


def test_bad_images_are_skipped_by_name(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = check_images(list_images(damaged(photos, tmp_path)))
    assert [Path(p.path).name for p in good] == ["coffee.png", "rocket.jpg"]
    assert (good[1].width, good[1].height) == (640, 427)
    out = capsys.readouterr().out
    assert "cut.jpg: not a readable image" in out and "text.png: not a readable image" in out


def test_bad_images_are_refused_by_name(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cut\.jpg: not a readable image .* and 1 more"):
        check_images(list_images(damaged(photos, tmp_path)))


def test_no_good_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(UserError, match="none of the 1 images could be read"):
        check_images(list_images(tmp_path))


def test_imagenet_layout_is_used_as_it_is(photos: Path, tmp_path: Path) -> None:
    for split, name in (("train", "a.JPEG"), ("train", "b.JPEG"), ("val", "c.JPEG")):
        folder = tmp_path / split / "n01440764"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((photos / "rocket.jpg").read_bytes())
    train, val = split_photos(tmp_path, 0.5)
    assert [Path(p.path).name for p in train] == ["a.JPEG", "b.JPEG"]
    assert [Path(p.path).name for p in val] == ["c.JPEG"]


def test_split_is_by_photo_and_stable(photos: Path) -> None:
    train, val = split_photos(photos, 0.4)
    assert (len(train), len(val)) == (3, 2)
    assert not set(train) & set(val)
    assert split_photos(photos, 0.4) == (train, val)


def test_a_bad_photo_takes_no_place_in_the_split(photos: Path, tmp_path: Path) -> None:
    for name in ("rocket.jpg", "coffee.png"):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    for number in range(20):  # one of them has the smallest hash
        (tmp_path / f"{number}.jpg").write_bytes(b"no image")
    train, val = split_photos(tmp_path, 0.1)
    assert {Path(p.path).name for p in (*train, *val)} == {"rocket.jpg", "coffee.png"}
    assert len(train) == len(val) == 1


def test_one_image_cannot_be_split(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes((photos / "rocket.jpg").read_bytes())
    with pytest.raises(UserError, match="found 1 readable image, expected at least 2"):
        split_photos(tmp_path, 0.5)


def test_random_crop_comes_from_the_seed_and_fits(photo_list: tuple[Photo, ...]) -> None:
    crops = [random_crop(photo_list[0], CROPS, (0, i)) for i in range(50)]
    assert crops == [random_crop(photo_list[0], CROPS, (0, i)) for i in range(50)]
    assert len(set(crops)) > 40
    assert all(64 <= c.short <= 128 for c in crops)
    assert {c.flip for c in crops} == {True, False}
    assert all(load_crop(c).shape == (3, 64, 64) for c in crops[:5])


def test_mirrored_crop_is_mirrored(photo_list: tuple[Photo, ...]) -> None:
    plain = Crop(photo_list[0].path, 100, 3, 5, 64)
    mirrored = Crop(photo_list[0].path, 100, 3, 5, 64, flip=True)
    assert torch.equal(load_crop(plain).flip(-1), load_crop(mirrored))


def test_small_photo_is_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (20, 40), "red").save(tmp_path / "small.png")
    photo = Photo(str(tmp_path / "small.png"), 20, 40)
    crop = load_crop(random_crop(photo, CROPS, (0,)))
    assert crop.shape == (3, 64, 64) and crop[0].min() > 250


def test_eval_crops_are_fixed_and_first_is_the_centre() -> None:
    crops = eval_crops(Photo("x", 600, 400), 200, 4)
    assert crops[0] == Crop("x", 200, 50, 0, 200)
    assert [(c.short, c.x, c.y) for c in crops[1:]] == [(400, 0, 0), (400, 400, 200), (400, 400, 0)]
    assert len(eval_crops(Photo("x", 200, 200), 200, 4)) == 1


@pytest.mark.parametrize("size", [(600, 400), (401, 1203), (213, 300), (100, 100), (807, 1601)])
def test_centre_crop_is_adms(size: tuple[int, int], photos: Path, tmp_path: Path) -> None:
    """guided-diffusion's `center_crop_arr`, which the DC-AE authors evaluate by."""
    path = tmp_path / "photo.jpg"
    with Image.open(photos / "astronaut.png") as astronaut:
        astronaut.convert("RGB").resize(size).save(path)
    for side in (100, 200):
        expected = Image.open(path).convert("RGB")
        while min(*expected.size) >= 2 * side:
            expected = expected.resize(tuple(x // 2 for x in expected.size), Image.Resampling.BOX)
        scale = side / min(*expected.size)
        expected = expected.resize(
            tuple(round(x * scale) for x in expected.size), Image.Resampling.BICUBIC
        )
        y, x = ((edge - side) // 2 for edge in (expected.height, expected.width))
        pixels = np.array(expected)[y : y + side, x : x + side]
        ours = load_crop(eval_crops(Photo(str(path), *size), side, 1)[0])
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), pixels)


def test_draft_is_close_to_the_exact_pixels(photos: Path, tmp_path: Path) -> None:
    with Image.open(photos / "astronaut.png") as astronaut:
        astronaut.convert("RGB").resize((1024, 1024)).save(tmp_path / "large.jpg")
    crop = Crop(str(tmp_path / "large.jpg"), 100, 10, 10, 64)
    difference = load_crop(crop).float() - load_crop(crop, draft=True).float()
    assert 0 < difference.abs().mean() < 5


def test_uint8_and_model_range_are_inverse() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    image = to_model_range(pixels)
    assert image.min() == -1 and image.max() == 1
    assert torch.equal(to_uint8(image), pixels)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_plan_draws_each_photo_equally_often() -> None:
    plan = plan_epoch(10, 25, 4, seed=0, epoch=3)
    assert plan == plan_epoch(10, 25, 4, seed=0, epoch=3)
    assert plan != plan_epoch(10, 25, 4, seed=0, epoch=4)
    counts = np.bincount([p for p, _ in plan], minlength=10)
    assert counts.min() >= 2 and counts.max() <= 3
    assert all(0 <= number < 4 for _, number in plan)


def test_manifest_survives_moving_its_folder(photos: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "a.jpg").write_bytes((photos / "rocket.jpg").read_bytes())
    outside = Photo(str(photos / "coffee.png"), 600, 400)
    inside = Photo(str(first / "a.jpg"), 640, 427)
    Manifest((inside, outside), tuple(eval_crops(inside, 64, 1))).save(first / "manifest.json")
    first.rename(tmp_path / "second")
    loaded = Manifest.load(tmp_path / "second/manifest.json")
    assert Path(loaded.train[0].path) == tmp_path / "second/a.jpg"
    assert loaded.train[1] == outside
    assert load_crop(loaded.eval[0]).shape == (3, 64, 64)
    assert str(tmp_path) not in json.dumps(
        json.loads((tmp_path / "second/manifest.json").read_text())["train"][0]
    )


def test_manifest_of_another_version_says_how_to_write_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('{"train": [{"path": "a.jpg", "width": 64, "height": 64}], "eval": []}')
    with pytest.raises(UserError, match=r"another version .* `dvc repro -f prepare_data`"):
        Manifest.load(path)


def test_missing_manifest_says_which_stage_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc repro prepare_data` makes it"):
        Manifest.load(tmp_path / "manifest.json")


def test_photo_that_disappeared_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg: can't be read any more"):
        load_crop(Crop(str(tmp_path / "gone.jpg"), 64, 0, 0, 64))
