"""Which kernels take longest in decoding and in a training step? They say what to mend next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.pipeline import trainer_step
from benchmarks.setting import Setting
from benchmarks.training import batch_of, recipe_of
from dcde.base.processes import make_accelerator
from dcde.metrics.lpips import untrained_lpips
from dcde.profile.latency import decoders, example_latent

TEACHER, PRESET = "sana", "sana-4x"
RUNS, SHOWN = 3, 10


def measure(setting: Setting) -> dict[str, Any]:
    """List the longest kernels of each way to decode 1024 px in bf16, and of a training step."""
    model = setting.model(TEACHER)
    latent = example_latent(model.config, 64 if setting.smoke else 1024, 1, seed=0)
    latent = latent.to(setting.device, torch.bfloat16)
    rows: list[dict[str, Any]] = []
    for (_, way), decode in decoders({TEACHER: model}, torch.bfloat16, setting.device).items():
        if setting.has_time(way):
            with torch.inference_mode():
                rows += longest(f"{TEACHER}, {way}", partial(decode, latent), setting)
    if setting.has_time("training step"):
        recipe = recipe_of(PRESET, setting, setting.batch(16), all_switches=True)
        teacher, lpips = setting.teacher_of(PRESET), untrained_lpips()
        accelerator = make_accelerator(recipe.distill.precision)
        step = trainer_step(setting.model(PRESET), teacher, recipe, lpips, accelerator)
        batch = batch_of(setting, teacher, recipe)
        rows += longest(f"{PRESET}, a step", partial(step, batch), setting)
    return {"rows": rows}


def longest(name: str, call: Callable[[], Any], setting: Setting) -> list[dict[str, Any]]:
    """Profile a call and return its longest kernels: milliseconds and number for one call.

    On a CPU, these are operators.
    """
    on_gpu = setting.device.type == "cuda"
    call(), call()  # compiles, and chooses algorithms
    with profile(
        activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    ) as profiler:
        for _ in range(RUNS):
            call()
    took = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, took))
    total = sum(getattr(event, took) for event in events)
    return [
        {
            "call": name,
            "kernel": event.key[:50],
            "count": event.count / RUNS,
            "ms": getattr(event, took) / RUNS / 1000,
            "share": getattr(event, took) / total,
        }
        for event in events[:SHOWN]
    ]
