"""The device to compute on."""

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
    """Move a module to a device, its weights in the memory layout that convolutions like best."""
    moved: M = module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def loader_workers(asked: int | None) -> int:
    """Return how many processes load images: as asked, or up to 8 beside a GPU, otherwise none.

    Without a GPU the trainer itself needs the cores.
    """
    if asked is not None:
        return asked
    return min(8, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 0


def check_compiler(field: str) -> None:
    """Refuse torch.compile where the compiler is missing that it needs, on a CPU and on a GPU.

    Args:
        field: what asks for it.

    Raises:
        UserError: saying how to go on.
    """
    candidates = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    candidates += ["g++", "clang++", "gcc", "clang"]
    if not any(shutil.which(name.split()[0]) for name in candidates):
        raise UserError(
            f"{field}: found true, but torch.compile needs a C++ compiler and found none "
            f"({', '.join(candidates)}): install one, or set {field} to false"
        )


def device_name(device: torch.device) -> str:
    """The device's name, with the count of threads for a CPU."""
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
