"""Choose and describe the device to compute on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from dcde.base.errors import UserError

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M, device: torch.device) -> M:
    """Move a module to a device, with weights in the layout that suits convolutions best."""
    moved: M = module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_device() -> torch.device:
    """Return the first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def loader_workers(asked: int | None) -> int:
    """Return the number of processes that load images: by default up to 8 with a GPU, else none.

    Without a GPU, the trainer itself needs the cores.
    """
    if asked is not None:
        return asked
    return min(8, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 0


def check_compiler(field: str) -> None:
    """Reject torch.compile without a C++ compiler, which it needs for CPUs and GPUs.

    Args:
        field: the parameter that turns it on.

    Raises:
        UserError: with what to install.
    """
    candidates = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    candidates += ["g++", "clang++", "gcc", "clang"]
    if not any(shutil.which(name.split()[0]) for name in candidates):
        raise UserError(
            f"{field}: found true, but torch.compile needs a C++ compiler and found none "
            f"({', '.join(candidates)}): install one, or set {field} to false"
        )


def device_name(device: torch.device) -> str:
    """Return the device's name; for a CPU, also the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                return f"{name}, {torch.get_num_threads()} threads"
    except OSError:
        pass
    return f"CPU, {torch.get_num_threads()} threads"
