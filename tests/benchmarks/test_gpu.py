"""The GPU benchmark on thin models: no line of it may fail on the GPU itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import decoding, training
from benchmarks.gpu import __main__ as gpu
from benchmarks.setting import Setting
from tests.helpers.tiny import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def measured(part: str, out: Path) -> dict[str, Any]:
    """Run a part and read what it saved."""
    assert gpu.run_part(part, out, 1.0, smoke=True)
    found: dict[str, Any] = json.loads((out / f"{part}.json").read_text())
    assert found["left_out"] == [] and found["versions"]["torch"] == torch.__version__.split("+")[0]
    return found


def test_correctness(tmp_path: Path) -> None:
    found = measured("correctness", tmp_path)
    errors = {k: v for k, v in found.items() if ": " in k or "three" in k or "repaired" in k}
    assert len(errors) >= 18
    if not torch.cuda.is_available():
        assert max(errors.values()) < 1e-5, errors


def test_presets_of_the_full_size_run_without_dvclive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dvclive", None)
    found = measured("full_size", tmp_path)
    assert [row["preset"] for row in found["rows"]] == ["in-6x", "in-3x", "sana-4x"]


def test_runs_killed_and_shared_end_like_one_alone(tmp_path: Path) -> None:
    found = measured("runs", tmp_path)
    far = {name: value for name, value in found.items() if "process" in name or "killed" in name}
    assert len(far) == 2 and max(far.values()) < 0.01, far
    if not torch.cuda.is_available():
        assert next(value for name, value in far.items() if "killed" in name) == 0


def test_decoding_compares_with_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "GROUPS", {"sana": ("sana-4x",), "bundled": ()})
    setting = Setting(tmp_path, device=CPU, smoke=True)
    rows = decoding.measure(setting, ["sana", "bundled"], compiled=["sana"])["rows"]
    ways = {"diffusers", "optimized", "plain", "diffusers, compiled", "optimized, compiled"}
    assert {row["way"] for row in rows} == ways and len(rows) == 11
    (student,) = (r for r in rows if (r["model"], r["way"]) == ("sana-4x", "optimized"))
    (teacher,) = (r for r in rows if (r["model"], r["way"]) == ("sana", "diffusers"))
    assert student["times_teacher_in_diffusers"] == teacher["latency_ms"] / student["latency_ms"]
    assert {"times_diffusers", "gflops_per_s", "images_per_s"} <= student.keys()


def test_training_compares_with_a_plain_loop(tmp_path: Path) -> None:
    setting = Setting(tmp_path, device=CPU, smoke=True)
    rows = training.measure(setting, ["w4-v25"], [8])["rows"]
    assert [row["way"] for row in rows] == ["all switches", "fp32", "plain loop"]
    assert rows[-1]["times_plain"] == 1 and all(row["batch"] == 2 for row in rows)
    assert (tmp_path / "step-w4-v25-2.json.gz").is_file()


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    setting = Setting(tmp_path, device=CPU, seconds=0)
    assert not setting.has_time("in-6x") and setting.left_out == ["in-6x"]


def test_a_part_that_fails_is_saved_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu.PARTS, "evaluation", (lambda setting: 1 / 0, 0.1))
    assert not gpu.run_part("evaluation", tmp_path, 1.0, smoke=True)
    assert "ZeroDivisionError" in json.loads((tmp_path / "evaluation.json").read_text())["failed"]
