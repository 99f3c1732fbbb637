"""Whole small runs: killed and called again, or shared by two processes; both must end the same."""

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
from torch import Tensor

from benchmarks.gpu.setting import Setting, random_pictures, relative_error
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.train.run_state import STATE


def measure(setting: Setting) -> dict[str, Any]:
    """How far the students are from that of a run alone, over how far its 10 steps moved it.

    A second run alone shows what of it is the device's noise.
    """
    before = weights(setting.thinned().model("w4-v3"))
    with tempfile.TemporaryDirectory() as folder:
        alone, again, killed, shared = (
            photos_in(Path(folder) / name) for name in ("alone", "again", "killed", "shared")
        )
        finish(start(alone))
        if not setting.smoke:
            finish(start(again))
        state = kill_after_first_save(killed)
        finish(start(killed))
        finish(*(start(shared, rank) for rank in range(2)))
        trained = weights(read_model(alone / "student"))
        others = {} if setting.smoke else {"run once more": again}
        others |= {
            f"killed at step {state['position']['step']} and called again": killed,
            "two processes on one device": shared,
        }
        return {
            name: relative_error(weights(read_model(f / "student")) - before, trained - before)
            for name, f in others.items()
        }


def photos_in(folder: Path) -> Path:
    random_pictures(folder / "photos", 5, 96)
    return folder


def start(folder: Path, rank: int | None = None) -> subprocess.Popen[str]:
    """A process of its own; with a rank it is one of two."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    if rank is not None:
        # LOCAL_RANK is the number of the device.
        env |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(folder)}
        env |= {"TORCHELASTIC_RUN_ID": "benchmark"}  # "several processes", where there is no GPU
    command = [sys.executable, "-m", "benchmarks.gpu.small_run", str(folder)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def free_port(folder: Path) -> str:
    """One that nobody listens on; the same for all processes of a folder."""
    kept = folder / "port"
    if not kept.exists():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            kept.write_text(str(listener.getsockname()[1]))
    return kept.read_text()


def finish(*runs: subprocess.Popen[str]) -> None:
    """Wait for all of them.

    Raises:
        RuntimeError: with what a run that failed has printed last.
    """
    for run in runs:
        _, errors = run.communicate()
        if run.returncode != 0:
            raise RuntimeError(errors[-3000:])


def kill_after_first_save(folder: Path) -> dict[str, Any]:
    """Start a run and kill it once it has saved a state; that state."""
    run, saved = start(folder), folder / "state" / STATE
    while not saved.exists():
        if run.poll() is not None:
            finish(run)
        time.sleep(0.005)
    run.kill()
    run.communicate()
    state: dict[str, Any] = torch.load(saved, map_location="cpu", weights_only=True)
    return state


def weights(model: DCAE) -> Tensor:
    """All of the decoder's, as one vector on the CPU."""
    return torch.cat([p.detach().flatten().cpu() for p in model.decoder.parameters()])
