"""Measure the time and memory of each way to decode."""

from __future__ import annotations

import copy
import ctypes
import gc
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from dcde.base.devices import synchronize
from dcde.decode.optimize import optimize
from dcde.model import DCAE, DCAEConfig
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_peer import diffusers_model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Key = TypeVar("Key")
Decode = Callable[[Tensor], Tensor]
"""Latent to image."""


def decoders(
    models: Mapping[str, DCAE], dtype: torch.dtype, device: torch.device
) -> dict[tuple[str, str], Decode]:
    """Return (model, way) to decoder, for the ways `plain`, `optimized` and `diffusers`.

    The last is left out if diffusers is not installed.
    """
    ways: dict[tuple[str, str], Decode] = {}
    for name, model in models.items():
        model = model.to(device)
        ways[name, "optimized"] = optimize(model, dtype=dtype)
        with suppress(ImportError):
            peer = diffusers_model(model)
            peer.decoder.to(dtype)
            ways[name, "diffusers"] = partial(_diffusers_decode, peer)
        ways[name, "plain"] = copy.deepcopy(model).to(dtype).decode
    return ways


def compiled(model: DCAE, way: str, dtype: torch.dtype, backend: str = "inductor") -> Decode:
    """Return the decoder of a way, `optimized` or `diffusers`, channels-last and compiled."""
    decoder: Any = optimize(model, dtype=dtype)
    if way == "diffusers":
        decoder = diffusers_model(model).decoder.to(dtype, memory_format=torch.channels_last)
    decode: Decode = torch.compile(decoder, backend=backend)
    return decode


def _diffusers_decode(peer: Any, latent: Tensor) -> Tensor:
    image: Tensor = peer.decode(latent).sample
    return image


@torch.inference_mode()
def decode_costs(
    decoders: Mapping[Key, Decode], latent: Tensor, *, warmup_runs: int, runs: int
) -> dict[Key, dict[str, float | None]]:
    """Measure latency, throughput and peak memory of decoding a batch of latents.

    The decoders take turns, so that changes in the machine's speed affect all alike.
    """
    times: dict[Key, list[float]] = {key: [] for key in decoders}
    for run in range(warmup_runs + runs):
        for key, decode in decoders.items():
            synchronize(latent.device)
            start = time.perf_counter()
            decode(latent)
            synchronize(latent.device)
            if run >= warmup_runs:
                times[key].append(1000 * (time.perf_counter() - start))
    costs: dict[Key, dict[str, float | None]] = {}
    for key, decode in decoders.items():
        low, median, high = np.percentile(times[key], (10, 50, 90)).tolist()
        costs[key] = {
            "latency_ms": median,
            "latency_p10_ms": low,
            "latency_p90_ms": high,
            "images_per_s": 1000 * len(latent) / median,
            "peak_memory_mib": peak_memory_mib(partial(decode, latent), latent.device),
        }
    return costs


def example_latent(config: DCAEConfig, resolution: int, batch: int, seed: int) -> Tensor:
    """Draw random latents for images of `resolution` x `resolution` pixels."""
    side = resolution // config.downsampling
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.latent_channels, side, side, generator=generator)


def random_model(config: DCAEConfig) -> DCAE:
    """Build a model whose weights keep the scale of features; torch's own would take minutes."""
    generator = torch.Generator().manual_seed(0)
    model = build_on_meta(config).to_empty(device="cpu")
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
        else:
            tensor.fill_(1.0 if name.endswith((".weight", "running_var")) else 0.0)  # of norms
    return model.eval()


def peak_memory_mib(run: Callable[[], Any], device: torch.device) -> float | None:
    """Return a call's peak memory, including its result, above the memory in use before.

    CUDA's allocator or, on Linux, the process's resident set knows it; elsewhere it is None.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        gc.collect()
        # Freed memory that the allocator keeps would hide some of the call's own.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present
        before = _resident_kib("VmRSS")
        run()
        return (_resident_kib("VmHWM") - before) / 1024
    except (OSError, AttributeError):  # no /proc, or not glibc
        return None


def _resident_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
