"""A run against git's last commit, in a repository of two files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from dcde.report.changes import read_changes
from tests.helpers.workspace import commit, git, identify

PARAMS, METRICS, LATER = Path("params.yaml"), Path("metrics/eval.json"), Path("metrics/prune.json")


def write(params: dict, scores: dict) -> None:
    PARAMS.write_text(yaml.safe_dump(params))
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(scores))


@pytest.fixture
def repository(in_folder: Path) -> Path:
    write(
        {"launcher": "python", "loss": {"gamma": 0.0, "lpips": 0.6}},
        {"teacher": {"ssim": 0.7}, "student": {"ssim": 0.6}},
    )
    Path("dvc.yaml").write_text("stages: {}\n")
    git(in_folder, "init", "-q")
    identify(in_folder)
    commit(in_folder, "run")
    return in_folder


def test_what_is_as_committed_is_no_change(repository: Path) -> None:
    changes = read_changes(PARAMS, [METRICS])
    assert changes is not None
    assert changes.commit == git(repository, "rev-parse", "--short", "HEAD").strip()
    assert (changes.params, changes.metrics, changes.code) == ({}, {}, ())
    assert changes.command == "dvc repro"


def test_only_what_differs_is_told(repository: Path) -> None:
    launcher = "env OMP_NUM_THREADS=1 python"
    write(
        {"launcher": launcher, "loss": {"gamma": 0.3, "lpips": 0.6}},
        {"teacher": {"ssim": 0.7}, "student": {"ssim": 0.65}, "gap": {"ssim": -0.05}},
    )
    LATER.write_text(json.dumps({"cut": {"psnr_db": 20}}))
    Path("dcde").mkdir()
    Path("dcde/new idea.py").write_text("")
    changes = read_changes(PARAMS, [METRICS, LATER])
    assert changes is not None
    assert changes.params == {"launcher": ("python", launcher), "loss.gamma": (0.0, 0.3)}
    assert changes.metrics == {"student.ssim": (0.6, 0.65), "gap.ssim": (None, -0.05)}
    assert changes.code == ("dcde/",)
    words = shlex.split(changes.command)
    assert words == ["dvc", "exp", "run", "-S", f'launcher="{launcher}"', "-S", "loss.gamma=0.3"]


def test_without_a_commit_there_is_nothing_to_compare_with(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({}, {})
    assert read_changes(PARAMS, [METRICS]) is None
    git(in_folder, "init", "-q")
    assert read_changes(PARAMS, [METRICS]) is None
    monkeypatch.setenv("PATH", "")
    assert read_changes(PARAMS, [METRICS]) is None
