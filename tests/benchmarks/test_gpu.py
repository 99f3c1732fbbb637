"""What a GPU's minutes will be spent on, tried on thin models: no line of it may fail there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import decoding, training
from benchmarks.gpu.__main__ import PARTS, run_part
from benchmarks.gpu.setting import Setting
from benchmarks.models import TEACHERS
from tests.helpers.tiny import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("part", ["correctness", "repair", "evaluation"])
def test_a_part_is_measured_and_saved(part: str, tmp_path: Path) -> None:
    assert run_part(part, tmp_path, 1.0, smoke=True)
    found = json.loads((tmp_path / f"{part}.json").read_text())
    assert found["left_out"] == [] and found["versions"]["torch"] == torch.__version__.split("+")[0]
    if part == "correctness" and not torch.cuda.is_available():
        errors = {k: v for k, v in found.items() if ": " in k or "after" in k or "losses" in k}
        assert len(errors) == 17
        assert max(errors.values()) < 1e-5, errors
    if part == "evaluation":
        assert {"decoding", "lpips"} <= found["shares"].keys()
        assert sum(found["shares"].values()) == pytest.approx(1)


def test_runs_killed_and_shared_end_as_one_alone(tmp_path: Path) -> None:
    assert run_part("runs", tmp_path, 1.0, smoke=True)
    found = json.loads((tmp_path / "runs.json").read_text())
    far = {name: value for name, value in found.items() if "process" in name or "killed" in name}
    assert len(far) == 2 and max(far.values()) < 0.01, far
    if not torch.cuda.is_available():
        assert next(value for name, value in far.items() if "killed" in name) == 0


def test_decoding_and_how_it_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "NAMES", ("sana", "sana-4x"))
    monkeypatch.setattr(decoding, "SIZES", ((512, 1),))
    monkeypatch.setattr(decoding, "COMPILED", ("sana-4x",))
    found = decoding.measure(Setting(CPU, tmp_path, 60, smoke=True))
    ways = {"diffusers", "optimized", "plain", "diffusers, compiled", "optimized, compiled"}
    assert {row["way"] for row in found["rows"]} == ways
    assert {f"sana-4x, optimized{way}" for way in (": times its teacher", ": times diffusers")} | {
        "sana-4x, optimized, compiled: times diffusers"
    } <= found["times"].keys()


def test_training_by_all_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCHES", (8,))
    monkeypatch.setattr(training, "PRESETS_TRAINED", ("w4-v25",))
    found = training.measure(Setting(CPU, tmp_path, 60, smoke=True))
    assert len(found["rows"]) == 3
    assert found["times_plain"]["w4-v25, batch 2, plain loop on diffusers, fp32"] == 1
    assert all(row["ms"] > 0 for row in found["rows"])
    assert (tmp_path / "step-w4-v25-2.json.gz").is_file()


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    setting = Setting(CPU, tmp_path, 0, smoke=False)
    assert not setting.has_time("in-6x") and setting.left_out == ["in-6x"]


def test_a_part_that_fails_is_saved_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, "repair", (lambda setting: 1 / 0, 0.1))
    assert not run_part("repair", tmp_path, 1.0, smoke=True)
    assert "ZeroDivisionError" in json.loads((tmp_path / "repair.json").read_text())["failed"]


@pytest.mark.parametrize("student", TEACHERS)
def test_students_have_their_full_size_and_a_thin_one(student: str, tmp_path: Path) -> None:
    full, thin = (Setting(CPU, tmp_path, 1, smoke=smoke).config(student) for smoke in (False, True))
    assert full.decoder.widths[-1] == 1024 and thin.decoder.widths[-1] == 64
    assert thin.latent_channels == full.latent_channels
