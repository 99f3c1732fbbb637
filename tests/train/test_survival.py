"""What a run survives: kills, stop requests, steps that fail, lack of memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dcde.data.folder import Photo
from dcde.model.checkpoint import read_model
from dcde.train import losses, trainer
from dcde.train.losses import Prediction, image_l1
from dcde.train.run_state import Position, RunState
from tests.helpers.distill_run import (
    curve,
    run_distill,
    same_weights,
)
from tests.helpers.tiny import ROOT

Photos = tuple[Photo, ...]
SMALL: dict[str, Any] = {"epochs": 2, "samples_per_epoch": 40, "crops_per_image": 10_000}


@pytest.fixture(autouse=True)
def saved_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVING_SHARE", float("inf"))


class CutError(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"gan_ratio": 20},
        {"ema": 0, "accumulation_steps": 3, "shallow_epochs": 1},
        {"narrow": True, "checkpoint_activations": True, "loss": {"image": 1.0, "stream": 0.3}},
    ],
    ids=str,
)
def test_run_cut_inside_an_epoch_ends_as_a_whole_one(
    changes: dict[str, Any], photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = run_distill(photo_list, tmp_path / "whole", epochs=2, **changes)
    steps = 0

    def cut(prediction: Prediction) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 31:
            raise CutError
        return image_l1(prediction)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(losses, "image_l1", cut)
        run_distill(photo_list, tmp_path / "cut", epochs=2, **changes)
    position = torch.load(tmp_path / "cut/state.pt", weights_only=True)["position"]
    assert position["epoch"] == 1 and 0 < position["batch"] <= 10
    _, continued = run_distill(photo_list, tmp_path / "cut", epochs=2, **changes)
    assert same_weights(continued, expected)
    assert curve(tmp_path / "cut", "loss/image") == curve(tmp_path / "whole", "loss/image")


def test_run_cut_at_an_epochs_end_ends_as_a_whole_one(
    photo_list: Photos, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores are logged, but the state that knows of them is not saved."""
    arguments: dict[str, Any] = {
        "epochs": 2,
        "validation_photos": 1,
        "lpips_weights": str(networks / "lpips_alex.safetensors"),
    }
    _, expected = run_distill(photo_list, tmp_path / "whole", **arguments)
    save = RunState.save

    def cut(self: RunState, position: Position) -> None:
        if (position.epoch, position.batch) == (1, 0):
            raise CutError
        save(self, position)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(RunState, "save", cut)
        run_distill(photo_list, tmp_path / "cut", **arguments)
    assert len(curve(tmp_path / "cut", "validation/lpips")) == 1
    _, continued = run_distill(photo_list, tmp_path / "cut", **arguments)
    assert same_weights(continued, expected)
    for name in ("validation/lpips", "loss/image"):
        assert curve(tmp_path / "cut", name) == curve(tmp_path / "whole", name)


@pytest.mark.slow
def test_killed_runs_end_as_an_uninterrupted_one(
    photos: Path, photo_list: Photos, networks: Path, tmp_path: Path
) -> None:
    """kill -9 at random moments, several in a row, with all that has a state on."""
    arguments = SMALL | {
        "epochs": 3,
        "accumulation_steps": 2,
        "validation_photos": 1,
        "lpips_weights": str(networks / "lpips_alex.safetensors"),
    }
    cache, whole = tmp_path / "latents", tmp_path / "whole"
    run_distill(photo_list, tmp_path / "clean", cache_dir=cache, **arguments)
    for path in cache.glob("*/latents.npy"):
        latents = np.load(path, mmap_mode="r+")
        latents[len(latents) // 3] = np.nan
        latents.flush()
    _, expected = run_distill(photo_list, whole, cache_dir=cache, **arguments)
    assert len(curve(whole, "bad_steps")) > 0
    state_dir, out = tmp_path / "state", tmp_path / "student"
    command = [
        sys.executable,
        "-m",
        "tests.helpers.distill_run",
        *map(str, (state_dir, cache, out, photos)),
    ]
    command.append(json.dumps(arguments))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    rng = random.Random(0)
    kills = 0
    for _ in range(3):
        before = (state_dir / "state.pt").stat().st_mtime_ns if kills else 0
        with (tmp_path / "log.txt").open("w") as log:
            child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        while child.poll() is None:
            state = state_dir / "state.pt"
            if state.exists() and state.stat().st_mtime_ns != before:
                time.sleep(0.2 * rng.random())
                child.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        child.wait()
    assert kills == 3 and not out.exists()
    position = torch.load(state_dir / "state.pt", weights_only=True)["position"]
    assert 0 < position["step"] < 15
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "continuing at epoch" in done.stdout + done.stderr
    assert same_weights(read_model(out), expected)
    for name in ("loss/image", "loss/discriminator", "validation/lpips", "bad_steps"):
        assert curve(state_dir, name) == curve(whole, name)


def test_ctrl_c_saves_and_says_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "tests.helpers.distill_run",
        str(state_dir),
        str(tmp_path / "latents"),
    ]
    command += [str(tmp_path / "student"), str(photos)]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not (state_dir / "state.pt").exists():
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 1
    step = torch.load(state_dir / "state.pt", weights_only=True)["position"]["step"]
    assert errors.splitlines()[-1].startswith(f"error: stopped on request after step {step}. The")
    assert "Traceback" not in errors and not (tmp_path / "student").exists()


def test_unfinished_runs_of_other_parameters_are_left_alone(
    photo_list: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_distill(photo_list, tmp_path / "a", epochs=2)
    before = (tmp_path / "a/state.pt").read_bytes()
    capsys.readouterr()
    run_distill(photo_list, tmp_path / "b", epochs=2, tap="norm")
    assert f"starting anew in {tmp_path / 'b'}. The unfinished runs beside it (a) have other " in (
        capsys.readouterr().out
    )
    assert (tmp_path / "a/state.pt").read_bytes() == before
