"""Decoding: diffusers' `AutoencoderDC`, ours as it is and as `dcde.optimize` has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.setting import Setting
from benchmarks.models import TEACHERS
from dcde.model import DCAE
from dcde.model.costs import decoder_macs
from dcde.model.diffusers_peer import diffusers_model
from dcde.profile.latency import Decode, decoders

NAMES = ("f32c32-in", "w4-v3", "in-6x", "sana", "sana-4x", "in-3x", "sana-2x")
COMPILED = ("f32c32-in", "in-6x", "sana")
"""Models that are compiled too, at the first size: each takes half a minute to start."""
SIZES = ((512, 1), (1024, 1), (512, 8), (1024, 8))
"""Side of the image in pixels, and images at a time."""


def measure(setting: Setting) -> dict[str, Any]:
    """A row for each model, size and way, and how they compare at the first size."""
    rate = setting.matmul_tflops_per_s()
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        if not setting.has_time(name):
            continue
        model = setting.model(name)
        for way, dtype, decode in ways(model):
            rows += timed(setting, model, name, way, dtype, decode, SIZES, rate)
        del model
    for name in COMPILED:
        model = setting.model(name)
        for way, dtype, decode in ways(model):
            if way != "plain" and dtype == torch.bfloat16 and setting.has_time(f"{name} compiled"):
                # Inductor takes minutes on a CPU, and is not what a smoke test is for.
                backend = "eager" if setting.smoke else "inductor"
                compiled, title = torch.compile(decode, backend=backend), f"{way}, compiled"
                rows += timed(setting, model, name, title, dtype, compiled, SIZES[:1], rate)
        torch._dynamo.reset()
    return {"matmul_tflops_per_s": rate, "rows": rows, "times": ratios(rows)}


def ways(model: DCAE) -> Iterator[tuple[str, torch.dtype, Decode]]:
    """Name, precision and function of each way that there is; in fp16 diffusers' alone."""
    device = next(model.parameters()).device
    for (_, way), decode in decoders({"": model}, torch.bfloat16, device).items():
        yield way, torch.bfloat16, decode
    yield "diffusers", torch.float16, diffusers_model(model).to(torch.float16).decoder


@torch.no_grad()
def timed(
    setting: Setting,
    model: DCAE,
    name: str,
    way: str,
    dtype: torch.dtype,
    decode: Decode,
    sizes: tuple[tuple[int, int], ...],
    rate: float,
) -> Iterator[dict[str, Any]]:
    """A row for each size for which there is time."""
    for px, batch in sizes:
        if not setting.has_time(f"{name}, {way}, {px} px, batch {batch}"):
            continue
        px, batch = 64 if setting.smoke else px, setting.batch(batch)
        side, channels = px // model.config.downsampling, model.config.latent_channels
        latent = torch.randn(batch, channels, side, side, device=setting.device, dtype=dtype)

        def run(latent: Tensor = latent) -> None:
            decode(latent)

        ms = setting.milliseconds(run)
        flops = 2 * batch * decoder_macs(model.config, px)
        yield {
            "model": name,
            "way": way,
            "precision": str(dtype).removeprefix("torch."),
            "px": px,
            "batch": batch,
            "ms": ms,
            "peak_gib": setting.peak_gib(run),
            "share_of_matmul_rate": flops / ms / 1e9 / rate,
        }


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How many times as fast as diffusers, eager or compiled alike, and as its teacher there."""
    first = [row for row in rows if row["precision"] == "bfloat16" and row["batch"] == 1]
    ms: dict[tuple[str, str], float] = {}
    for row in first:
        ms.setdefault((row["model"], row["way"]), row["ms"])
    found = {}
    for (name, way), took in ms.items():
        if way.startswith("optimized"):
            peer = way.replace("optimized", "diffusers")
            if (name, peer) in ms:
                found[f"{name}, {way}: times diffusers"] = ms[name, peer] / took
            if (TEACHERS.get(name), way) in ms:
                found[f"{name}, {way}: times its teacher"] = ms[TEACHERS[name], way] / took
    return found
