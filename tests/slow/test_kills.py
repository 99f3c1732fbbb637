"""A run that is killed at random moments of every stage ends like one that nobody killed.

Run this after a change in how something is written.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcde.base.files import sha256_of
from dcde.base.paths import EVAL_METRICS, PRUNE_METRICS, STUDENT
from tests.helpers.workspace import STAGES, change_params, copy_repository

KILLS_IN_A_STAGE = 2


def repro(folder: Path) -> subprocess.Popen[str]:
    """Start `dvc repro` in a process group of its own, so that its stage is killed with it."""
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stages_of(run: subprocess.Popen[str]) -> Iterator[str]:
    """Yield each stage as it begins, until the run ends."""
    lines = []
    assert run.stdout is not None
    for line in run.stdout:
        lines.append(line)
        if begun := re.match(r"Running stage '(\w+)'", line):
            yield begun[1]
    assert run.wait() == 0, "".join(lines[-30:])


def seconds_of_stages(folder: Path) -> dict[str, float]:
    """Run the pipeline without a kill."""
    begun = {stage: time.monotonic() for stage in stages_of(repro(folder))}
    ends = [*list(begun.values())[1:], time.monotonic()]
    return {stage: end - begun[stage] for stage, end in zip(begun, ends, strict=True)}


def killed_in(folder: Path, targets: set[str], wait: float) -> bool:
    """Start a run and kill it in the first of some stages, if that lasts longer than the wait."""
    run = repro(folder)
    for stage in stages_of(run):
        if stage in targets:
            time.sleep(wait)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                return True
    return False


def results(folder: Path) -> dict[str, Any]:
    metrics = {str(p): json.loads((folder / p).read_text()) for p in (PRUNE_METRICS, EVAL_METRICS)}
    return {**metrics, "student": sha256_of(folder / STUDENT / "model.safetensors")}


@pytest.mark.slow
def test_a_killed_run_ends_like_one_that_nobody_killed(
    photos: Path, networks: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        copy_repository(folder, photos)
        change_params(folder, {"loss.gamma": 0.1, "distill.samples_per_epoch": 64})
    seconds = seconds_of_stages(whole)
    order = list(seconds)
    assert set(order) == STAGES
    rng, kills = random.Random(0), 0
    for stage in order:
        for _ in range(KILLS_IN_A_STAGE):
            targets = set(order[order.index(stage) :])  # the next ones, if this one is done
            kills += killed_in(killed, targets, rng.uniform(0, seconds[stage]))
    assert kills > len(order)
    for _ in stages_of(repro(killed)):
        pass
    assert results(killed) == results(whole)
