"""Pruning with repair at full size: seconds and memory."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import recipe_of
from dcde.base.devices import synchronize
from dcde.params.pipeline import Params, PruneParams
from dcde.metrics.lpips import untrained_lpips
from dcde.prune.prune import prune

PRESETS_PRUNED = ("in-6x", "in-3x", "sana-4x")


def measure(setting: Setting) -> dict[str, Any]:
    """A row for each preset: from the teacher to its repaired student, its scores included."""
    rows = []
    for preset in PRESETS_PRUNED:
        if setting.has_time(preset):
            rows.append({"preset": preset, **pruned(setting, preset)})
    return {"rows": rows}


def pruned(setting: Setting, preset: str) -> dict[str, float | None]:
    """Seconds and memory."""
    params = recipe_of(preset, setting, 4, all_switches=False)
    settings = smoke_prune(setting, preset, params) if setting.smoke else params.prune
    teacher = setting.model("sana" if preset.startswith("sana") else "f32c32-in")
    count, side = (16, 64) if setting.smoke else (settings.calibration_images, 512)
    images = torch.rand(count, 3, side, side, device=setting.device) * 2 - 1
    lpips = untrained_lpips().to(setting.device)
    seconds: list[float] = []

    def run() -> None:
        began = time.monotonic()
        prune(
            teacher,
            settings,
            images=lambda: images,
            lpips_metric=lambda: lpips,
            seed=0,
            device=setting.device,
        )
        synchronize(setting.device)
        seconds.append(time.monotonic() - began)

    peak = setting.peak_gib(run)
    if peak is None:
        run()
    return {"seconds": seconds[0], "peak_gib": peak}


def smoke_prune(setting: Setting, preset: str, params: Params) -> PruneParams:
    """The preset's cuts, of as many channels and blocks as the thin models have."""
    student = setting.config(preset).decoder
    return params.prune.model_copy(
        update={
            "depth_list": student.depths,
            "width_list": student.widths if params.prune.width_list else None,
        }
    )
