"""`dcde experiments` with nothing to show; test_dvc_commands checks what it shows."""

import os
import sys
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.report.experiments import read_experiments
from tests.helpers.tiny import ROOT, run


@pytest.fixture
def empty_repository(tmp_path: Path) -> Path:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", *identity, "commit", "-qm", "empty"],
    ):
        assert run(command, tmp_path).returncode == 0
    return tmp_path


def test_nothing_finished(empty_repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(empty_repository)
    with pytest.raises(UserError, match="no finished run found, expected one: `dvc repro`"):
        read_experiments()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user(empty_repository: Path) -> None:
    for path in (empty_repository, *empty_repository.rglob("*")):
        os.chown(path, 12345, 12345)
    script = "from dcde.commands.app import app; app(['experiments'])"
    env = {"PYTHONPATH": str(ROOT), "HOME": str(empty_repository)}  # no safe.directory there
    done = run([sys.executable, "-c", script], empty_repository, **env)
    assert done.returncode == 1
    assert done.stderr.startswith("error: dvc exp show: ") and done.stderr.count("\n") == 1
    assert "not owned by current user; run it in the repository's root, as the" in done.stderr
