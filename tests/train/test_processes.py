"""Several processes on one CPU (gloo): the same run as on one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dcde.data.folder import Photo
from dcde.model.checkpoint import read_model
from tests.helpers.distill_run import (
    curve,
    curve_names,
    run_distill,
)
from tests.helpers.tiny import ROOT, run

LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
CPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
ENV = {**os.environ, "PYTHONPATH": str(ROOT), **CPU}


def command(state_dir: Path, photos: Path, **arguments: Any) -> list[str]:
    paths = (state_dir, state_dir / "latents", state_dir / "student", photos)
    return [
        sys.executable,
        *LAUNCH,
        "-m",
        "tests.helpers.distill_run",
        *map(str, paths),
        json.dumps(arguments),
    ]


def run_two(state_dir: Path, photos: Path, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end, keeping what it prints."""
    return run(command(state_dir, photos, **arguments), ROOT, **CPU)


def start_two(
    state_dir: Path, log: Path, photos: Path, **arguments: Any
) -> subprocess.Popen[bytes]:
    """Start it, and wait until it has saved its state."""
    with log.open("w") as file:
        child = subprocess.Popen(
            command(state_dir, photos, **arguments), cwd=ROOT, env=ENV, stdout=file, stderr=file
        )
    while child.poll() is None and not (state_dir / "state.pt").exists():
        time.sleep(0.005)
    return child


@pytest.mark.parametrize(
    "changes",
    [
        {
            "narrow": True,
            "loss": {"stream": 1.0, "image": 1.0, "teacher_lpips": 0.1},
            "optimizer": {"lr": 1e-4},
        },
        # The output layer rests, as no term reaches it. AdamW's first steps have the size of the
        # learning rate whatever the gradient's, so where that is all rounding, rounding decides:
        # at a large rate it soon shows.
        {"loss": {"feature": 1.0}, "freeze_project_out": False, "optimizer": {"lr": 1e-5}},
    ],
    ids=["narrow", "features"],
)
def test_two_processes_follow_one(
    changes: dict[str, Any],
    photos: Path,
    photo_list: tuple[Photo, ...],
    networks: Path,
    tmp_path: Path,
) -> None:
    """Half of each batch each, without batch norms, which see their own half on a CPU."""
    arguments: dict[str, Any] = {
        "norm": "trms2d",
        "accumulation_steps": 2,
        "validation_photos": 1,
        "lpips_weights": str(networks / "lpips_alex.safetensors"),
        **changes,
    }
    _, alone = run_distill(photo_list, tmp_path / "one", **arguments)
    done = run_two(tmp_path / "two", photos, **arguments)
    assert done.returncode == 0, done.stderr
    assert curve_names(tmp_path / "one") == curve_names(tmp_path / "two")
    for name in curve_names(tmp_path / "one"):
        ours, theirs = curve(tmp_path / "two", name), curve(tmp_path / "one", name)
        rounded = name.startswith("validation/")  # pictures of 8 bits, where a half tips over
        assert ours == pytest.approx(theirs, rel=1e-3 if rounded else 1e-4), name
    shared = read_model(tmp_path / "two/student").state_dict()
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-2, atol=1e-3)


def test_stop_of_one_process_stops_all_and_the_run_goes_on(photos: Path, tmp_path: Path) -> None:
    arguments = {"loss": {"image": 1.0}}
    child = start_two(tmp_path, tmp_path / "log.txt", photos, **arguments)
    workers = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(child.pid)], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGTERM)
    assert child.wait() != 0
    errors = (tmp_path / "log.txt").read_text()
    step = torch.load(tmp_path / "state.pt", weights_only=True)["position"]["step"]
    assert 0 < step < 20
    assert errors.count(f"error: stopped on request after step {step}. The state is saved") == 2
    done = run_two(tmp_path, photos, **arguments)
    assert done.returncode == 0, done.stderr
    assert list(curve(tmp_path, "loss/image")) == list(range(20))


@pytest.mark.slow
def test_machines_without_a_shared_disk_do_not_go_on_from_different_steps(
    photos: Path, tmp_path: Path
) -> None:
    arguments = {"loss": {"image": 1.0}}
    first = start_two(tmp_path / "disk_0", tmp_path / "log.txt", photos, **arguments)
    first.terminate()
    assert first.wait() != 0
    done = run_two(tmp_path / "disk_{rank}", photos, **arguments)
    assert done.returncode != 0
    assert re.search(
        r"error: \S+disk_\d: the processes found different saved states, at steps \[\d+, 0\]",
        done.stderr,
    )
