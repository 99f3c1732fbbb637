"""`dcde experiments` with nothing to show; test_dvc_commands checks what it shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.report.experiments import read_experiments
from tests.helpers.tiny import run


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"dvc exp show: .*not inside.*; run it in the repository"):
        read_experiments()


def test_nothing_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", *identity, "commit", "-qm", "empty"],
    ):
        assert run(command, tmp_path).returncode == 0
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no finished run found, expected one: `dvc repro`"):
        read_experiments()
