"""A training step: a plain loop on diffusers' models, ours in fp32, ours with all switches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.setting import Setting
from benchmarks.recipe import of_preset
from benchmarks.training import plain_step
from dcde.params.pipeline import Params
from dcde.base.processes import make_accelerator
from dcde.params.training import Recipe
from dcde.distill.step import step_of
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE
from dcde.model.costs import decoder_macs

PRESETS_TRAINED = ("in-3x", "w4-v25")
BATCHES = (4, 16)
WAYS = ("all switches", "fp32", "plain loop on diffusers, fp32")


def measure(setting: Setting) -> dict[str, Any]:
    """A row for each preset, batch and way; a trace of a step with all switches."""
    rate = setting.matmul_tflops_per_s()
    rows: list[dict[str, Any]] = []
    for batch in map(setting.batch, BATCHES):
        for preset in PRESETS_TRAINED:
            for way in WAYS:
                if setting.has_time(f"{preset}, batch {batch}, {way}"):
                    rows.append(timed(setting, preset, batch, way, rate))
                    torch._dynamo.reset()
    return {"matmul_tflops_per_s": rate, "rows": rows, "times_plain": times_plain(rows)}


def timed(setting: Setting, preset: str, batch: int, way: str, rate: float) -> dict[str, Any]:
    student, teacher = models(setting, preset)
    recipe = recipe_of(preset, setting, batch, all_switches=way == WAYS[0])
    images = batch_of(setting, teacher, recipe)
    step: Callable[[], None]
    if way == WAYS[2]:
        lpips = untrained_lpips().to(setting.device)
        step = partial(plain_step(teacher, student, recipe, lpips), images["pixels"])
    else:
        step = our_step(teacher, student, recipe, images)
    ms = setting.milliseconds(step, 8)
    row = {"preset": preset, "batch": batch, "way": way, "images_per_s": 1000 * batch / ms}
    row |= {"ms": ms, "peak_gib": setting.peak_gib(step)}
    if way == WAYS[0]:
        px = recipe.distill.crops.image_size
        ours, theirs = (decoder_macs(m.config, px) for m in (student, teacher))
        # A backward pass counts as two forward ones. LPIPS and PatchGAN are not counted.
        row["share_of_matmul_rate"] = 2 * batch * (3 * ours + theirs) / ms / 1e9 / rate
        row["waits_for_the_host"] = host_waits(setting, step, f"{preset}-{batch}")
    return row


def models(setting: Setting, preset: str) -> tuple[DCAE, DCAE]:
    student = setting.model("w4-v3" if preset == "w4-v25" else preset)
    return student, setting.model("f32c32-in")


def recipe_of(preset: str, setting: Setting, batch: int, *, all_switches: bool) -> Params:
    """The preset's, at 512 px; with bf16 and torch.compile, or neither."""
    side = 64 if setting.smoke else 512
    changes = {
        "batch_size": batch,
        "samples_per_epoch": batch,
        "precision": "bf16" if all_switches else "fp32",
        "compile": all_switches and not setting.smoke,
        "crops": {"image_size": side, "short_side": [side, side], "flip": False},
    }
    return of_preset(preset, {"distill": changes})


def batch_of(setting: Setting, teacher: DCAE, recipe: Recipe) -> dict[str, Tensor]:
    """Fixed random crops and latents."""
    params, generator = recipe.distill, torch.Generator().manual_seed(0)
    side = params.crops.image_size
    small, channels = side // teacher.config.downsampling, teacher.config.latent_channels
    shape = (params.batch_size, 3, side, side)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    latent = torch.randn(params.batch_size, channels, small, small, generator=generator)
    return {"pixels": pixels.to(setting.device), "latent": latent.to(setting.device)}


def our_step(
    teacher: DCAE, student: DCAE, recipe: Recipe, batch: dict[str, Tensor]
) -> Callable[[], None]:
    """The trainer's own step, with one of the discriminator where the preset has one."""
    accelerator = make_accelerator(recipe.distill.precision)
    lpips = untrained_lpips().to(accelerator.device)
    learner, adversary = step_of(student, teacher, recipe, accelerator, lambda: lpips)
    weights = recipe.loss.weights()

    def step() -> None:
        prediction, _ = learner.step([batch], weights, lr=1e-4, resting=())
        if adversary is not None:
            adversary.step(prediction, 1e-4)

    return step


def host_waits(setting: Setting, step: Callable[[], None], name: str) -> int:
    """How often the program waits for the device in three steps; their trace is saved."""
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if setting.device.type == "cuda" else []
    with profile(activities=activities) as profiler:
        for _ in range(3):
            step()
    trace = Path(setting.out) / f"step-{name}.json.gz"
    profiler.export_chrome_trace(str(trace))
    waits = ["cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"]
    if setting.device.type != "cuda":
        waits = ["aten::_local_scalar_dense"]  # a number is read
    return sum(event.count for event in profiler.key_averages() if event.key in waits)


def times_plain(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Images per second over the plain loop's, of the same preset and batch."""
    plain = {(r["preset"], r["batch"]): r["ms"] for r in rows if r["way"] == WAYS[2]}
    return {
        f"{row['preset']}, batch {row['batch']}, {row['way']}": plain[key] / row["ms"]
        for row in rows
        if (key := (row["preset"], row["batch"])) in plain
    }
