"""Scores after each epoch, the students that are kept, and how a run ends."""

from __future__ import annotations

import json
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
from dcde.distill.plan import hold_out
from dcde.distill.validation import BEST, LAST, Validation, keep_student
from dcde.metrics.lpips import load_lpips
from dcde.metrics.pictures import psnr_db
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.train.run_state import finish_run
from tests.helpers.distill_run import CROPS, curve, run_distill, same_weights
from tests.helpers.tiny import randomize, tiny_config

Photos = tuple[Photo, ...]


def test_scores_are_those_that_eval_would_give(
    tiny_model: DCAE, photo_list: Photos, networks: Path, tmp_path: Path
) -> None:
    crops = [random_crop(photo, CROPS, (0, i)) for i, photo in enumerate(photo_list)]
    cache_latents(tiny_model, crops, tmp_path / "cache", keep_pixels=True, batch_size=2, workers=0)
    data = LatentDataset(tmp_path / "cache", range(5), crops)
    lpips = load_lpips(networks / "lpips_alex.safetensors")
    scores = Validation(data, lpips, batch_size=2, encode=False)(tiny_model)
    expected: dict[str, list[float]] = {"psnr_db": [], "lpips": []}
    for item in data:
        with torch.no_grad():
            picture = to_uint8(tiny_model.decode(item["latent"][None]))
            distance = lpips(to_model_range(picture), to_model_range(item["pixels"][None]))
        pair = [x.permute(1, 2, 0).numpy() for x in (picture[0], item["pixels"])]
        expected["psnr_db"].append(psnr_db(*pair))
        expected["lpips"].append(distance.item())
    assert scores == pytest.approx({k: sum(v) / len(v) for k, v in expected.items()}, rel=1e-4)


def test_held_out_photos_are_spread_and_not_trained_on(photo_list: Photos) -> None:
    training, held = hold_out(photo_list, 2)
    assert held == (photo_list[0], photo_list[2])
    assert set(training) | set(held) == set(photo_list) and len(training) == 3
    assert hold_out(photo_list, 0) == (photo_list, ())


def students(count: int) -> list[DCAE]:
    made = [DCAE(tiny_config()) for _ in range(count)]
    for i, student in enumerate(made):
        randomize(student, seed=i)
    return made


def test_the_best_student_gives_way_only_to_a_better_one(tmp_path: Path) -> None:
    made = students(4)
    best = []
    for student, lpips in zip(made, (0.5, 0.3, 0.4, 0.3), strict=True):
        keep_student(student, {"lpips": lpips, "psnr_db": 20.0}, tmp_path)
        assert same_weights(read_model(tmp_path / LAST), student)
        best.append([same_weights(read_model(tmp_path / BEST), s) for s in made].index(True))
    assert best == [0, 1, 1, 1]
    assert json.loads((tmp_path / "best.json").read_text())["lpips"] == 0.3


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_student_that_can_not_be_written_whole_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, better = students(2)
    keep_student(kept, {"lpips": 0.5}, tmp_path)
    monkeypatch.setattr(dcde.model.checkpoint, "save_file", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        keep_student(better, {"lpips": 0.1}, tmp_path)
    for name in (BEST, LAST):
        assert same_weights(read_model(tmp_path / name), kept)


def test_an_end_that_fails_loses_neither_the_run_nor_the_last_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = students(2)
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


@pytest.mark.parametrize("select", ["best", "last"])
def test_select_says_which_epochs_student_is_the_result(
    select: str, photo_list: Photos, networks: Path, tmp_path: Path
) -> None:
    """The learning rate rises until it ruins the student: its best epoch is not the last."""
    after: list[DCAE] = []
    _, student = run_distill(
        photo_list,
        tmp_path,
        loss={"image": 1.0},
        optimizer={"lr": 1.0, "cosine_t0": 100, "warmup_steps": 200},
        validation_photos=2,
        select=select,
        lpips_weights=str(networks / "lpips_alex.safetensors"),
        on_epoch=lambda epoch, model: after.append(model),
    )
    lpips = list(curve(tmp_path, "validation/lpips").values())
    best = lpips.index(min(lpips))
    assert len(lpips) == 3 and best != 2
    chosen, other = (best, 2) if select == "best" else (2, best)
    assert same_weights(student.decoder, after[chosen].decoder)
    assert not same_weights(student.decoder, after[other].decoder)
