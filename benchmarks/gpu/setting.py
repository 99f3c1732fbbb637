"""What all parts share: the device, the time that is left, models by their names, clocks."""

from __future__ import annotations

import importlib.metadata
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.models import full_size_config, random_model
from dcde.base.devices import device_name, synchronize
from dcde.model import DCAE, DCAEConfig
from dcde.model.spec import StageConfig

THINNER = 16
Side = TypeVar("Side", bound=StageConfig)


class Setting:
    """Where and how a part is measured.

    Args:
        out: folder for files beside the figures.
        seconds: what the part may take.
        smoke: thin models and few runs, to try the code itself.
    """

    def __init__(self, device: torch.device, out: Path, seconds: float, *, smoke: bool) -> None:
        self.device, self.out, self.smoke = device, out, smoke
        self.seconds, self.began = seconds, time.monotonic()
        self.left_out: list[str] = []
        """What there was no time for."""

    def thinned(self, device: torch.device | None = None) -> Setting:
        """The same with thin models, on this device or another."""
        return Setting(device or self.device, self.out, self.seconds, smoke=True)

    def seconds_used(self) -> float:
        return time.monotonic() - self.began

    def has_time(self, what: str) -> bool:
        """Whether another measurement may begin; if not, it is put down as left out."""
        if self.smoke or self.seconds_used() < self.seconds:
            return True
        self.left_out.append(what)
        return False

    def config(self, name: str) -> DCAEConfig:
        """The architecture of a name that `full_size_config` knows."""
        config = full_size_config(name)
        return thin(config) if self.smoke else config

    def model(self, name: str) -> DCAE:
        """With random weights, on the device."""
        return random_model(self.config(name)).to(self.device)

    def batch(self, images: int) -> int:
        """So many images at a time; a quarter of them in a smoke test."""
        return max(1, images // 4) if self.smoke else images

    def milliseconds(self, run: Callable[[], Any], runs: int = 10) -> float:
        """Median of a call's time on the device, after two calls that don't count."""
        times = [self._clock(run) for _ in range(3 if self.smoke else runs + 2)]
        return median(times[2:])

    def _clock(self, run: Callable[[], Any]) -> float:
        if self.device.type != "cuda":
            began = time.perf_counter()
            run()
            return 1000 * (time.perf_counter() - began)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        synchronize(self.device)
        return start.elapsed_time(end)

    def peak_gib(self, run: Callable[[], Any]) -> float | None:
        """What is allocated at most during a call, weights included; None without a GPU."""
        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        return torch.cuda.max_memory_allocated(self.device) / 2**30

    def matmul_tflops_per_s(self, dtype: torch.dtype = torch.bfloat16) -> float:
        """The rate of a large matrix product, to which others are compared."""
        side = 256 if self.smoke else 8192
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        return 2 * side**3 / self.milliseconds(lambda: a @ b, 20) / 1e9


def thin(config: DCAEConfig) -> DCAEConfig:
    """The same blocks with a sixteenth of the channels, and at most two of them in a stage."""

    def side(stages: Side) -> Side:
        changes: dict[str, Any] = {
            "widths": tuple(width // THINNER for width in stages.widths),
            "depths": tuple(min(2, depth) for depth in stages.depths),
        }
        if (inner := getattr(stages, "inner_widths", None)) is not None:
            changes["inner_widths"] = tuple(max(1, width // THINNER) for width in inner)
        return type(stages)(**{**stages.model_dump(), **changes})

    return config.model_copy(
        update={"encoder": side(config.encoder), "decoder": side(config.decoder)}
    )


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over that of what is expected, in double precision on the CPU."""
    a, b = (x.detach().double().cpu() for x in (found, expected))
    return ((a - b).norm() / b.norm()).item()


def random_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Smooth ones of fixed random values, as PNG files in a new folder."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        pixels = rng.integers(256, size=(side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return paths


def about(device: torch.device) -> dict[str, Any]:
    """What the figures are of."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "diffusers")}
    return {
        "device": device_name(device),
        "commit": commit or None,
        "versions": {**versions, "cuda": torch.version.cuda},
    }
