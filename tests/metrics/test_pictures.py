"""PSNR and SSIM at known values; tables and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dcde.base.results import write_metrics
from dcde.data.grid import picture_grid
from dcde.data.pixels import to_model_range
from dcde.metrics.pictures import batch_psnr_db, psnr_db, ssim


def test_psnr_and_ssim_at_known_values() -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    assert psnr_db(image, image) == 100
    assert psnr_db(image + 1, image) == pytest.approx(20 * np.log10(255))
    assert ssim(image, image) == pytest.approx(1)
    # Constant images: (2 a b + c1) / (a^2 + b^2 + c1), with c1 = (0.01 * 255)^2
    c1 = (0.01 * 255) ** 2
    assert ssim(image + 50, image) == pytest.approx((2 * 150 * 100 + c1) / (150**2 + 100**2 + c1))


def test_metrics_file_is_sorted_rounded_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics({"b": {"y": 1 / 3, "x": 2}, "a": None, "c": "cpu", "d": (1 / 7, 0.5)}, path)
    expected = {"a": None, "b": {"x": 2, "y": 0.333333}, "c": "cpu", "d": [0.142857, 0.5]}
    assert path.read_text() == json.dumps(expected, indent=2) + "\n"
    with pytest.raises(ValueError, match=r"b\.y: found nan"):
        write_metrics({"b": {"y": float("nan")}}, path)
    assert json.loads(path.read_text())["b"]["y"] == 0.333333


def test_picture_grid_puts_columns_in_order() -> None:
    red, blue = torch.zeros(2, 3, 40, 80, dtype=torch.uint8)
    red[0] += 255
    blue[2] += 255
    sheet = picture_grid([{"input": red, "student": blue}] * 2, ["input", "student"])
    assert sheet.size == (160, 80 + 24)
    assert sheet.getpixel((10, 50)) == (255, 0, 0) and sheet.getpixel((90, 90)) == (0, 0, 255)


def test_the_two_psnrs_agree_also_where_pictures_are_equal() -> None:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    image = original.copy()
    image[1, 0, 0, 0] ^= 1
    a, b = (to_model_range(torch.from_numpy(x).permute(0, 3, 1, 2)) for x in (image, original))
    expected = [psnr_db(*pair) for pair in zip(image, original, strict=True)]
    assert expected[0] == 100.0
    assert batch_psnr_db(a, b).tolist() == pytest.approx(expected, abs=1e-4)
