"""Scores after each epoch, and how a run ends."""

from pathlib import Path
from typing import Any

import pytest
import torch

import dcde.model.checkpoint
from dcde.base.errors import UserError
from dcde.data.crops import random_crop
from dcde.data.folder import Photo
from dcde.data.pixels import to_model_range, to_uint8
from dcde.distill.latents import LatentDataset, cache_latents
from dcde.metrics.lpips import load_lpips
from dcde.metrics.pictures import psnr_db
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.train.run_state import finish_run
from dcde.train.scores import mean_scores
from tests.helpers.distill_run import CROPS, same_weights
from tests.helpers.tiny import random_model, tiny_config

Photos = tuple[Photo, ...]


def test_scores_are_those_that_eval_would_give(
    tiny_model: DCAE, photo_list: Photos, networks: Path, tmp_path: Path
) -> None:
    crops = [random_crop(photo, CROPS, (0, i)) for i, photo in enumerate(photo_list)]
    cache_latents(tiny_model, crops, tmp_path / "cache", keep_pixels=True, batch_size=2, workers=0)
    data = LatentDataset(tmp_path / "cache", range(5), crops)
    lpips = load_lpips(networks / "lpips_alex.safetensors")
    scores = mean_scores(lambda batch: tiny_model.decode(batch["latent"]), data, lpips, 2)
    expected: dict[str, list[float]] = {"psnr_db": [], "lpips": []}
    for item in data:
        with torch.no_grad():
            picture = to_uint8(tiny_model.decode(item["latent"][None]))
            distance = lpips(to_model_range(picture), to_model_range(item["pixels"][None]))
        pair = [x.permute(1, 2, 0).numpy() for x in (picture[0], item["pixels"])]
        expected["psnr_db"].append(psnr_db(*pair))
        expected["lpips"].append(distance.item())
    assert scores == pytest.approx({k: sum(v) / len(v) for k, v in expected.items()}, rel=1e-4)


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_an_end_that_fails_loses_neither_the_run_nor_the_last_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (random_model(tiny_config(), seed) for seed in (0, 1))
    out, state_dir, kept = tmp_path / "student", tmp_path / "state", tmp_path / "plots"
    save_model(old, out)
    (state_dir / "live").mkdir(parents=True)
    (state_dir / "live/curve.tsv").write_text("new")
    kept.mkdir()
    (kept / "stale.tsv").write_text("old")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="can't be written"):
        patch.setattr(dcde.model.checkpoint, "save_file", full_disk)
        finish_run(new, out, state_dir, {"live": kept})
    assert same_weights(read_model(out), old) and state_dir.is_dir()
    finish_run(new, out, state_dir, {"live": kept})
    assert same_weights(read_model(out), new) and not state_dir.exists()
    assert [p.name for p in kept.iterdir()] == ["curve.tsv"]
