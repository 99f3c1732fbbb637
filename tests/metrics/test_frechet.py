"""Frechet distances: the formula, the networks, and statistics on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcde.base.errors import UserError
from dcde.data.crops import eval_crops, load_crop
from dcde.data.folder import Photo
from dcde.data.pixels import to_model_range
from dcde.metrics.frechet import Moments, Statistics, frechet_distance, inception_network
from dcde.metrics.inception import convert_inception, download_inception, load_inception
from dcde.metrics.lite0 import LITE0_FEATURES, load_lite0


def statistics(rows: np.ndarray) -> Statistics:
    moments = Moments(rows.shape[1])
    for part in np.array_split(rows, 3):
        moments.update(part)
    return moments.statistics()


def test_moments_are_numpys() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (40, 6))
    ours = statistics(rows)
    np.testing.assert_allclose(ours.mean, rows.mean(axis=0))
    np.testing.assert_allclose(ours.covariance, np.cov(rows, rowvar=False), atol=1e-12)


def test_distance_is_pytorch_fids() -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance

    rng = np.random.default_rng(0)
    a = statistics(rng.normal(size=(300, 16)) @ rng.normal(size=(16, 16)))
    b = statistics(rng.normal(size=(300, 16)) @ rng.normal(size=(16, 16)) + 1)
    theirs = calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)


def test_distance_of_few_images_to_themselves_is_zero() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 64))  # rank 9 of 64
    assert frechet_distance(statistics(rows), statistics(rows)) == pytest.approx(0, abs=1e-5)


def test_lite0_classifies_sanely(networks: Path, photos: Path) -> None:
    network = load_lite0(networks / "efficientnet_lite0.safetensors")
    espresso, egyptian_cat, tabby, tiger_cat = 967, 285, 281, 282
    for name, classes in (("coffee", {espresso}), ("chelsea", {egyptian_cat, tabby, tiger_cat})):
        path = str(photos / f"{name}.png")
        size = {"coffee": (600, 400), "chelsea": (451, 300)}[name]
        image = to_model_range(load_crop(eval_crops(Photo(path, *size), 256, 1)[0]))[None]
        assert network._fc(network(image)).argmax().item() in classes
        assert network(image).shape == (1, LITE0_FEATURES)


def test_statistics_survive_the_disk_as_pytorch_fid_reads_them(tmp_path: Path) -> None:
    kept = statistics(np.random.default_rng(0).normal(size=(9, 4)))
    kept.save(tmp_path / "a.npz", resolution=64)
    loaded = Statistics.load(tmp_path / "a.npz", features=4, resolution=64)
    np.testing.assert_array_equal(loaded.mean, kept.mean)
    np.testing.assert_array_equal(loaded.covariance, kept.covariance)
    from pytorch_fid.fid_score import compute_statistics_of_path

    mean, covariance = compute_statistics_of_path(str(tmp_path / "a.npz"), None, 1, 4, "cpu")
    np.testing.assert_array_equal(mean, kept.mean)
    np.testing.assert_array_equal(covariance, kept.covariance)


GOOD = {"mu": np.zeros(4), "sigma": np.eye(4)}
BAD_STATISTICS: list[tuple[dict[str, Any], str]] = [
    ({**GOOD, "mu": np.zeros(3)}, r"mu has shape \[3\], expected \[4\]: .* another network"),
    ({**GOOD, "resolution": 256}, "statistics of pictures of 256 px, expected 512 px"),
    ({"mean": np.zeros(4)}, "found mean, expected mu and sigma"),
    ({**GOOD, "mu": np.full(4, np.nan)}, "mu has entries that are not finite numbers"),
    ({**GOOD, "resolution": "large"}, "statistics of pictures of large px, expected 512 px"),
    ({**GOOD, "mu": np.array([{}])}, "not a whole npz file"),  # would need unpickling
]


@pytest.mark.parametrize(("arrays", "message"), BAD_STATISTICS)
def test_foreign_statistics_are_refused(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        Statistics.load(tmp_path / "a.npz", features=4, resolution=512)


def test_missing_and_damaged_statistics_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match=r"a\.npz: not found, expected an npz with mu and sigma"):
        Statistics.load(path, features=4, resolution=512)
    np.savez(path, **GOOD)
    with pytest.raises(UserError, match=r"a\.npz: mu has shape \[4\], expected \[2048\]"):
        inception_network(tmp_path / "not loaded.safetensors", path, 512)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.npz: not a whole npz file"):
        Statistics.load(path, features=4, resolution=512)


def test_offline_without_inception_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_fid import inception

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = "http://127.0.0.1:1/fid_weights/pt_inception-2015-12-05-6726825d.pth"
    monkeypatch.setattr(inception, "FID_WEIGHTS_URL", url)
    with pytest.raises(UserError, match=f"fetch {url} elsewhere and set eval.inception_weights"):
        download_inception()
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_weights_that_are_not_inceptions_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    with pytest.raises(UserError, match=r"eval.inception_weights: .*w\.pth: not found"):
        convert_inception(weights)
    torch.save({"conv.weight": torch.zeros(1)}, weights)
    for _ in range(2):
        with pytest.raises(UserError, match=r"w\.pth: not pytorch-fid's Inception weights"):
            convert_inception(weights)
        weights.write_text("not weights")
    with pytest.raises(UserError, match=r"w\.safetensors: not found, .* if eval.fid is true"):
        load_inception(tmp_path / "w.safetensors")
