"""Crops of photos: drawn from the seed, or fixed and cut as the field does."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcde.base.errors import UserError
from dcde.data.crops import Crop, eval_crops, load_crop, random_crop
from dcde.data.folder import Photo
from dcde.data.pixels import to_model_range, to_uint8
from dcde.data.plan import EpochPlan
from dcde.params.training import CropParams

CROPS = CropParams(image_size=64, short_side=(64, 128), flip=True)


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
    photos = tuple(Photo(str(i), 100, 100) for i in range(10))
    plan = EpochPlan(photos, CROPS, samples=25, crops_per_image=4, seed=0)
    assert plan.crops(3) == plan.crops(3) != plan.crops(4)
    counts = Counter(crop.path for crop in plan.crops(3))
    assert set(counts.values()) == {2, 3}
    drawn = [crop for epoch in range(30) for crop in plan.crops(epoch)]
    distinct = plan.distinct_crops(30)
    assert set(distinct) == set(drawn) and len(distinct) == len(set(drawn))
    assert max(Counter(crop.path for crop in distinct).values()) == 4
    paths = [crop.path for crop in distinct]
    assert paths == sorted(paths)  # a photo is read once


def test_photo_that_disappeared_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg: can't be read any more"):
        load_crop(Crop(str(tmp_path / "gone.jpg"), 64, 0, 0, 64))
