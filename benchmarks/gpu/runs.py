"""Do small runs end alike if one is killed and called again, and one is shared by two processes?

    python -m benchmarks.gpu.runs FOLDER

is the small run. FOLDER has photos/; it gets state/ while the run lasts, and student/ at the end.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.correctness import decoder_weights, relative_error
from benchmarks.pipeline import params_with
from benchmarks.setting import Setting, random_pictures
from dcde.base.processes import process_state, shared_run
from dcde.data.folder import Photo
from dcde.distill.distill import distill
from dcde.model.checkpoint import read_model, save_model
from dcde.train.run_state import STATE

PRESET, TEACHER = "sana-2x", "sana"  # without batch norms, which processes on a CPU don't share
PICTURES, SIDE = 5, 96
CHANGES = {
    "distill.epochs": 2,
    "distill.batch_size": 4,
    "distill.precision": "fp32",
    "distill.compile": False,
    "distill.division_epoch": 1,
    "distill.samples_per_epoch": 20,
    "distill.crops_per_image": 4,
    "distill.validation_photos": 0,
    "distill.crops": {"image_size": 64, "short_side": [64, 64], "flip": True},
    "loss.lpips": 0.0,  # so that its weights need not be at hand
    "loss.teacher_lpips": 0.0,
    # AdamW's first steps have the same size whatever the gradient, so a large rate shows rounding.
    "optimizer.lr": 1e-5,
    "optimizer.warmup_steps": 0,
    "runtime.workers": 0,
}


def measure(setting: Setting) -> dict[str, Any]:
    """Compare the students with one from a run alone, relative to how far 10 steps moved it.

    A second run alone shows how much of that is the device's noise.
    """
    before = decoder_weights(setting.thinned().model(PRESET))
    with tempfile.TemporaryDirectory() as name:
        folders = {k: Path(name) / k for k in ("alone", "again", "killed", "shared")}
        for folder in folders.values():
            random_pictures(folder / "photos", PICTURES, SIDE)
        finish(start(folders["alone"]))
        if not setting.smoke:
            finish(start(folders["again"]))
        state = kill_after_first_save(folders["killed"])
        finish(start(folders["killed"]))
        finish(*(start(folders["shared"], rank) for rank in range(2)))
        trained = {
            k: decoder_weights(read_model(folder / "student")) - before
            for k, folder in folders.items()
            if (folder / "student").exists()
        }
    titles = {
        "again": "run once more",
        "killed": f"killed at step {state['position']['step']} and called again",
        "shared": "two processes on one device",
    }
    return {
        title: relative_error(trained[k], trained["alone"])
        for k, title in titles.items()
        if k in trained
    }


def start(folder: Path, rank: int | None = None) -> subprocess.Popen[str]:
    """Start a run in a process of its own, or one of two that share it."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    if rank is not None:
        # LOCAL_RANK is the number of the device.
        env |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(folder)}
        env |= {"TORCHELASTIC_RUN_ID": "benchmark"}  # "several processes", where there is no GPU
    command = [sys.executable, "-m", "benchmarks.gpu.runs", str(folder)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def free_port(folder: Path) -> str:
    """Find a free port once for all processes of a folder."""
    kept = folder / "port"
    if not kept.exists():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            kept.write_text(str(listener.getsockname()[1]))
    return kept.read_text()


def finish(*runs: subprocess.Popen[str]) -> None:
    """Wait for all runs.

    Raises:
        RuntimeError: with the last output of a run that failed.
    """
    for run in runs:
        _, errors = run.communicate()
        if run.returncode != 0:
            raise RuntimeError(errors[-3000:])


def kill_after_first_save(folder: Path) -> dict[str, Any]:
    """Start a run, kill it once it has saved a state, and return that state."""
    run, saved = start(folder), folder / "state" / STATE
    while not saved.exists():
        if run.poll() is not None:
            finish(run)
        time.sleep(0.005)
    run.kill()
    run.communicate()
    state: dict[str, Any] = torch.load(saved, map_location="cpu", weights_only=True)
    return state


def small_run(folder: Path) -> None:
    if "RANK" in os.environ:  # NCCL refuses two processes on one GPU
        torch.distributed.init_process_group("gloo")
    setting = Setting(folder, smoke=True)
    state_dir = folder / "state"
    with shared_run(state_dir):
        student = setting.model(PRESET)
        distill(
            student,
            setting.model(TEACHER),
            tuple(Photo(str(path), SIDE, SIDE) for path in sorted((folder / "photos").iterdir())),
            params_with(CHANGES, PRESET),
            lpips_weights=Path("none"),
            state_dir=state_dir,
            cache_dir=state_dir / "latents",
            on_epoch=lambda epoch, model: None,
        )
        if process_state().is_main_process:
            save_model(student, folder / "student")


if __name__ == "__main__":
    small_run(Path(sys.argv[1]))
