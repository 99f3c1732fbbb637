"""Share what speed benchmarks need: the device, the time that is left, models by name, clocks."""

from __future__ import annotations

import importlib.metadata
import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from dcde.base.devices import best_device, device_name, synchronize
from dcde.base.paths import PRESETS
from dcde.commands.preset import preset_models
from dcde.model import DCAE, DCAEConfig, zoo_config
from dcde.model.spec import StageConfig
from dcde.profile.latency import random_model
from dcde.report.tables import markdown_table

TEACHERS = {
    "bundled": "dc-ae-f16c16-photos",
    "f32c32-in": "dc-ae-f32c32-in-1.0",
    "sana": "dc-ae-f32c32-sana-1.0",
    "lite": "dc-ae-lite-f32c32",
}
"""Short names of published architectures; students have the names of their presets."""
THINNER = 16
Side = TypeVar("Side", bound=StageConfig)


class Setting:
    """The place and the limits of a measurement.

    Args:
        out: folder for files beside the figures.
        seconds: time limit.
        smoke: use thin models and few runs, to test the benchmark itself.
    """

    def __init__(
        self,
        out: Path,
        *,
        device: torch.device | None = None,
        seconds: float = math.inf,
        smoke: bool = False,
    ) -> None:
        self.out, self.seconds, self.smoke = out, seconds, smoke
        self.device = device or best_device()
        self.began = time.monotonic()
        self.left_out: list[str] = []
        """Measurements that there was no time for."""

    def thinned(self, device: torch.device | None = None) -> Setting:
        """Return the same setting with thin models, on this device or another."""
        return Setting(self.out, device=device or self.device, smoke=True)

    def seconds_used(self) -> float:
        return time.monotonic() - self.began

    def has_time(self, what: str) -> bool:
        """Return True if there is time for another measurement; otherwise note it as left out."""
        if self.smoke or self.seconds_used() < self.seconds:
            return True
        self.left_out.append(what)
        return False

    def config(self, name: str) -> DCAEConfig:
        """Return the architecture of a teacher, or of a preset's student."""
        config = zoo_config(TEACHERS[name]) if name in TEACHERS else preset_models(PRESETS, name)[1]
        return thin(config) if self.smoke else config

    def model(self, name: str) -> DCAE:
        """Build a model with random weights on the device."""
        return random_model(self.config(name)).to(self.device)

    def teacher_of(self, preset: str) -> DCAE:
        """Build the teacher of a preset's student with random weights on the device."""
        config = preset_models(PRESETS, preset)[0]
        return random_model(thin(config) if self.smoke else config).to(self.device)

    def batch(self, images: int) -> int:
        """Return the batch size, a quarter of it in a smoke test."""
        return max(1, images // 4) if self.smoke else images

    def milliseconds(self, run: Callable[[], Any], runs: int = 10) -> float:
        """Return the median time of a call, after two calls to warm up."""
        times = []
        for _ in range(3 if self.smoke else runs + 2):
            synchronize(self.device)
            began = time.perf_counter()
            run()
            synchronize(self.device)
            times.append(1000 * (time.perf_counter() - began))
        return median(times[2:])

    def matmul_gflops_per_s(self, dtype: torch.dtype) -> float:
        """Measure a large matrix product, the most that the device can be expected to do."""
        side = 256 if self.smoke else 8192 if self.device.type == "cuda" else 2048
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        return 2 * side**3 / self.milliseconds(lambda: a @ b, 20) / 1e6


def thin(config: DCAEConfig) -> DCAEConfig:
    """Cut an architecture to a sixteenth of its channels and at most two blocks in each stage.

    One that is small already stays whole.
    """

    if config.decoder.widths[-1] < 32 * THINNER:  # heads of attention need 32 channels
        return config

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


def random_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Write smooth pictures with fixed random values, as PNG files in a new folder."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        pixels = rng.integers(256, size=(side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return paths


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Tabulate these columns of rows in Markdown; a row may lack some."""

    def shown(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    return markdown_table([columns, *([shown(row.get(c, "")) for c in columns] for row in rows)])


def about(device: torch.device) -> dict[str, Any]:
    """Describe what the figures are from."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    versions = {name: installed[name] for name in ("torch", "diffusers") if name in installed}
    return {
        "device": device_name(device),
        "commit": commit or None,
        "versions": {**versions, "cuda": torch.version.cuda},
    }
