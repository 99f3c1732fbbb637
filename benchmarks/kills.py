"""Does a killed run end as one that nobody killed? `kill -9` at random moments of every stage.

    python -m benchmarks.kills --kills 20

A clone of this repository's last commit, set to a run of a minute, runs `dvc repro` once as it is.
A second clone runs it too, and is killed at random moments, spread over all stages; each time
`dvc repro` is simply called again. In the end both must have the same metrics and the same student.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.recipe import put_in
from dcde.base.files import sha256_of
from dcde.base.paths import EVAL_METRICS, PRUNE_METRICS, STUDENT
from dcde.report.tables import markdown_table

SMALL = [
    *("data.eval_size=128", "data.eval_crops=1", "profile.resolutions=[64]", "profile.runs=3"),
    *("distill.samples_per_epoch=64", "distill.crops.image_size=64", "runtime.save_minutes=0.001"),
    *("distill.crops.short_side=[64,128]", "loss.gamma=0.1"),
]
"""A run that ends in about a minute and has all that can be interrupted, a GAN too."""


def main(
    kills: Annotated[int, typer.Option(help="How many times the run is killed.")] = 20,
    seed: Annotated[int, typer.Option()] = 0,
    stage: Annotated[list[str] | None, typer.Option(help="Kill only in these.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        seconds = dict(run_once(clone(whole)))
        rows = kill_often(clone(killed), kills, stage or list(seconds), seconds, seed)
        print(markdown_table([["aimed at stage", "its seconds", "killed after"], *rows]))
        different = differences(results(whole), results(killed))
        for line in different:
            print(line)
        if different:
            raise typer.Exit(1)
        print(f"{len(rows)} kills, and the same {len(results(whole))} metrics and weights")


def clone(folder: Path) -> Path:
    """The last commit, set to a small run, with no result of an earlier one."""
    subprocess.run(["git", "clone", "-q", ".", str(folder)], check=True)
    (folder / "dvc.lock").unlink()
    params: Any = yaml.safe_load((folder / "params.yaml").read_text())
    put_in(params, SMALL)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def repro(folder: Path) -> subprocess.Popen[str]:
    """`dvc repro` in a process group of its own, so that its stage is killed with it."""
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stages(run: subprocess.Popen[str]) -> Iterator[str]:
    """The stages that a run begins, each as it does; they end with the run.

    Raises:
        RuntimeError: with the run's last lines, if it fails.
    """
    lines = []
    assert run.stdout is not None
    for line in run.stdout:
        lines.append(line)
        if begun := re.match(r"Running stage '(\w+)'", line):
            yield begun[1]
    if run.wait() != 0:
        raise RuntimeError("".join(lines[-30:]))


def run_once(folder: Path) -> Iterator[tuple[str, float]]:
    """Each stage with its seconds."""
    before, began = "", time.monotonic()
    for stage in stages(repro(folder)):
        now = time.monotonic()
        if before:
            yield before, now - began
        before, began = stage, now
    yield before, time.monotonic() - began


def kill_often(
    folder: Path, kills: int, targets: list[str], seconds: dict[str, float], seed: int
) -> list[list[str]]:
    """Kill the run as often in each of the stages, in their order, then let it end.

    Where a stage ended before its moment was there, the next one is killed in its place. Where that
    was the last one, the kills that are left are too.
    """
    rng, rows = random.Random(seed), []
    order = list(seconds)
    turns = sorted(islice(cycle(targets), kills), key=order.index)
    while turns:
        run = repro(folder)
        for stage in stages(run):
            if order.index(turns[0]) > order.index(stage):
                continue
            wait = rng.uniform(0, seconds[stage])
            time.sleep(wait)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                rows.append([stage, f"{seconds[stage]:.1f}", f"{wait:.1f}"])
                turns.pop(0)
                break
        else:
            break  # the run came to its end
    for _ in stages(repro(folder)):
        pass
    return rows


def results(folder: Path) -> dict[str, Any]:
    """What a run computed, without its timings."""
    weights = {p.name: sha256_of(p) for p in (folder / STUDENT).glob("*.safetensors")}
    metrics = {str(p): json.loads((folder / p).read_text()) for p in (PRUNE_METRICS, EVAL_METRICS)}
    return {**weights, **metrics}


def differences(whole: dict[str, Any], killed: dict[str, Any]) -> list[str]:
    """A line for each result that is not the same."""
    return [
        f"{name}: {killed.get(name)}, expected {whole.get(name)}"
        for name in whole.keys() | killed.keys()
        if whole.get(name) != killed.get(name)
    ]


if __name__ == "__main__":
    typer.run(main)
