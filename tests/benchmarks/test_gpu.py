"""The GPU benchmark on thin models: no line of it may fail on the GPU itself."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import decoding, training
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import table
from tests.helpers.tiny import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def typer_app(command: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def measured(part: str, out: Path) -> dict[str, Any]:
    """Run a part and read what it saved."""
    assert gpu.run_part(part, out, 1.0, smoke=True)
    results = json.loads((out / gpu.RESULTS).read_text())
    assert results["versions"]["torch"] == torch.__version__.split("+")[0]
    found: dict[str, Any] = results["parts"][part]
    assert found["left_out"] == []
    return found


@pytest.mark.slow
def test_correctness(tmp_path: Path) -> None:
    found = measured("correctness", tmp_path)
    errors = {k: v for k, v in found.items() if ": " in k or "three" in k or "repaired" in k}
    assert len(errors) >= 18
    if not torch.cuda.is_available():
        assert max(errors.values()) < 1e-5, errors


@pytest.mark.slow
def test_presets_of_the_full_size_run_without_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dvc", "dvclive"):
        monkeypatch.setitem(sys.modules, name, None)
    found = measured("full_size", tmp_path)
    assert [row["preset"] for row in found["rows"]] == ["in-6x", "in-3x", "sana-4x"]


@pytest.mark.slow
def test_runs_killed_and_shared_end_like_one_alone(tmp_path: Path) -> None:
    found = measured("runs", tmp_path)
    far = {name: value for name, value in found.items() if "process" in name or "killed" in name}
    assert len(far) == 2 and max(far.values()) < 0.01, far
    if not torch.cuda.is_available():
        assert next(value for name, value in far.items() if "killed" in name) == 0


@pytest.mark.slow
def test_tables_of_decoding_training_and_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside diffusers' and Lite's decoders and a plain loop; part after part in one file."""
    monkeypatch.setattr(decoding, "GROUPS", {"sana": ("lite", "sana-4x")})
    compiled = (("sana-4x", "optimized"), ("lite", "diffusers"), ("sana", "diffusers"))
    monkeypatch.setitem(
        gpu.PARTS,
        "decoding",
        (lambda setting: decoding.measure(setting, ["sana"], compiled=compiled), 0.5),
    )
    monkeypatch.setitem(
        gpu.PARTS,
        "training",
        (lambda setting: training.measure(setting, ["w4-v25"], [8]), 0.5),
    )
    rows = measured("decoding", tmp_path)["rows"]
    found = {(row["model"], row["way"], row["precision"]): row for row in rows}
    assert len(found) == len(rows) == 2 * 3 * 3 + 3
    student, teacher = (
        found[model, way, "bf16"]
        for model, way in (("sana-4x", "optimized"), ("sana", "diffusers"))
    )
    times = teacher["latency_ms"] / student["latency_ms"]
    assert student["times_teacher_in_diffusers"] == pytest.approx(times, rel=1e-4)
    rows = measured("training", tmp_path)["rows"]
    assert [row["way"] for row in rows] == ["all switches", "fp32", "plain loop"]
    assert rows[-1]["times_plain"] == 1 and all(row["batch"] == 2 for row in rows)
    kernels = measured("kernels", tmp_path)["rows"]
    for name in ("sana, optimized", "sana, plain", "sana, diffusers", "sana-4x, a step"):
        took = [kernel["ms"] for kernel in kernels if kernel["call"] == name]
        assert 0 < len(took) <= 10 and took == sorted(took, reverse=True)
    done = CliRunner().invoke(typer_app(table.main), [str(tmp_path)])
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert sum("| sana-4x | optimized, compiled | bf16 |" in line for line in lines) == 1
    assert sum("| plain loop |" in line for line in lines) == 1
    assert sum(line.startswith("| sana, diffusers | ") for line in lines) == 10


def test_a_part_that_fails_is_saved_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu.PARTS, "evaluation", (lambda setting: 1 / 0, 0.1))
    assert not gpu.run_part("evaluation", tmp_path, 1.0, smoke=True)
    results = json.loads((tmp_path / gpu.RESULTS).read_text())
    assert "ZeroDivisionError" in results["parts"]["evaluation"]["failed"]
    assert table.tables(results).endswith("Failed: evaluation.")
