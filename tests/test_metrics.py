"""Scores against the public libraries; costs against formulas by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dcde.data import Crop, Photo, eval_crops
from dcde.lite0 import FEATURES, load_lite0
from dcde.metrics import Moments, evaluate, frechet_distance, gap_to_teacher, psnr_db, ssim
from dcde.model import DCAE
from dcde.perceptual import import_torchvision, load_lpips
from dcde.profiling import count_macs, decode_costs, reductions
from dcde.pruning import prune_depth
from dcde.reports import picture_grid, write_metrics


def moments(rows: np.ndarray) -> Moments:
    result = Moments(rows.shape[1])
    for part in np.array_split(rows, 3):
        result.update(torch.from_numpy(part))
    return result


def test_moments_are_numpys() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (40, 6))
    mean, covariance = moments(rows).mean_and_covariance()
    np.testing.assert_allclose(mean, rows.mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(rows, rowvar=False), atol=1e-12)


def test_frechet_distance_is_pytorch_fids() -> None:
    import_torchvision()
    from pytorch_fid.fid_score import calculate_frechet_distance

    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 16)) @ rng.normal(size=(16, 16))
    b = rng.normal(size=(300, 16)) @ rng.normal(size=(16, 16)) + 1
    ours = frechet_distance(moments(a), moments(b))
    theirs = calculate_frechet_distance(
        *moments(a).mean_and_covariance(), *moments(b).mean_and_covariance()
    )
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_frechet_distance_of_few_images_to_themselves_is_zero() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 64))  # rank 9 of 64
    assert frechet_distance(moments(rows), moments(rows)) == pytest.approx(0, abs=1e-5)


def test_psnr_and_ssim_at_known_values() -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    assert psnr_db(image, image) == 100
    assert psnr_db(image + 1, image) == pytest.approx(20 * np.log10(255))
    assert ssim(image, image) == pytest.approx(1)
    # Constant images: (2 a b + c1) / (a^2 + b^2 + c1), with c1 = (0.01 * 255)^2
    c1 = (0.01 * 255) ** 2
    assert ssim(image + 50, image) == pytest.approx((2 * 150 * 100 + c1) / (150**2 + 100**2 + c1))


def test_lite0_classifies_sanely(networks: Path, photos: Path) -> None:
    network = load_lite0(networks / "efficientnet_lite0.safetensors")
    from dcde.data import load_crop, to_model_range

    espresso, egyptian_cat, tabby, tiger_cat = 967, 285, 281, 282
    for name, classes in (("coffee", {espresso}), ("chelsea", {egyptian_cat, tabby, tiger_cat})):
        path = str(photos / f"{name}.png")
        size = {"coffee": (600, 400), "chelsea": (451, 300)}[name]
        image = to_model_range(load_crop(eval_crops(Photo(path, *size), 256, 1)[0]))[None]
        assert network.classify(image).argmax().item() in classes
        assert network(image).shape == (1, FEATURES)


def test_evaluate_ranks_a_pruned_model_below_its_teacher(
    tiny_model: DCAE, photo_list: tuple[Photo, ...], networks: Path
) -> None:
    """Measured against the teacher's own reconstructions, the teacher is perfect."""
    crops = [c for photo in photo_list for c in eval_crops(photo, 64, 1)]
    pruned = prune_depth(tiny_model, ((), (0,), (0,), (0,)))
    scores = evaluate(
        {"teacher": tiny_model, "pruned": pruned, "student": tiny_model},
        crops,
        lpips_metric=load_lpips(networks / "lpips_alex.safetensors"),
        networks={"fd_lite0": (load_lite0(networks / "efficientnet_lite0.safetensors"), FEATURES)},
        batch_size=2,
        device=torch.device("cpu"),
    )
    assert set(scores["teacher"]) == {"psnr_db", "ssim", "lpips", "fd_lite0"}
    assert scores["teacher"] == scores["student"] != scores["pruned"]
    gap = gap_to_teacher(scores)
    assert gap["psnr_db"] == 0 and gap["psnr_db_recovered"] == 1


def test_scores_of_a_model_that_returns_its_input(
    photo_list: tuple[Photo, ...], networks: Path
) -> None:
    class Copy(nn.Module):
        def encode(self, image: torch.Tensor) -> torch.Tensor:
            return image

        def decode(self, latent: torch.Tensor) -> torch.Tensor:
            return latent

    crops: list[Crop] = eval_crops(photo_list[0], 64, 2)
    scores = evaluate(
        {"teacher": Copy()},  # type: ignore[dict-item]
        crops,
        lpips_metric=load_lpips(networks / "lpips_alex.safetensors"),
        networks={},
        batch_size=8,
        device=torch.device("cpu"),
    )
    assert scores["teacher"] == pytest.approx({"psnr_db": 100, "ssim": 1, "lpips": 0}, abs=1e-6)


def test_gap_and_recovery() -> None:
    gap = gap_to_teacher(
        {
            "teacher": {"psnr_db": 30.0, "lpips": 0.1},
            "pruned": {"psnr_db": 20.0, "lpips": 0.5},
            "student": {"psnr_db": 29.0, "lpips": 0.2},
        }
    )
    assert gap == pytest.approx(
        {"psnr_db": -1.0, "lpips": 0.1, "psnr_db_recovered": 0.9, "lpips_recovered": 0.75}
    )


def test_macs_by_hand() -> None:
    conv = nn.Conv2d(8, 16, 3, padding=1)
    assert count_macs(conv, torch.zeros(1, 8, 10, 12)) == 10 * 12 * 8 * 16 * 9
    grouped = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    assert count_macs(grouped, torch.zeros(1, 8, 10, 12)) == 10 * 12 * 8 * 25


def test_reductions_in_percent() -> None:
    full = {"encoder_params": 10, "decoder_params": 90, "decoder_macs": 80, "total_macs": 100}
    less = {"encoder_params": 10, "decoder_params": 40, "decoder_macs": 20, "total_macs": 40}
    assert reductions(less, full) == pytest.approx(
        {
            "decoder_params_saved_percent": 100 * 50 / 90,
            "decoder_macs_saved_percent": 75,
            "total_params_saved_percent": 50,
            "total_macs_saved_percent": 60,
        }
    )


def test_decode_costs_are_positive_and_ordered(tiny_model: DCAE) -> None:
    costs = decode_costs(
        {"teacher": tiny_model}, 64, warmup_runs=1, runs=5, device=torch.device("cpu")
    )["teacher"]
    assert 0 < costs["latency_ms"] <= costs["latency_p90_ms"]  # type: ignore[operator]


def test_metrics_file_is_sorted_rounded_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics({"b": {"y": 1 / 3, "x": 2}, "a": None, "c": "cpu"}, path)
    assert (
        path.read_text()
        == json.dumps({"a": None, "b": {"x": 2, "y": 0.333333}, "c": "cpu"}, indent=2) + "\n"
    )
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


def test_columns_are_as_wide_as_their_captions() -> None:
    dot = torch.zeros(3, 8, 8, dtype=torch.uint8)
    captions = ["a caption far wider than 8 pixels", "second"]
    sheet = picture_grid([dict.fromkeys(captions, dot)], captions)
    column = sheet.width // 2
    assert column > 150
    assert sheet.getpixel((column + 4, 28)) == (0, 0, 0) != sheet.getpixel((column - 4, 28))
    text = np.array(sheet.crop((column - 4, 0, column, 24)))
    assert (text == 255).all()  # nothing runs over into the next column
