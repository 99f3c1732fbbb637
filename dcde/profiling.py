"""What a model costs: parameters, multiply-accumulates, latency and memory of decoding."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dcde.model import DCAE, DCAEConfig
from dcde.model.dcae import build_on_meta


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of convolutions and matrix products: half the FLOPs of torch's counter.

    On the meta device nothing is computed.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(example)
    return counter.get_total_flops() // 2


def static_costs(config: DCAEConfig, resolution: int) -> dict[str, int]:
    """Parameters, and MACs for one image of `resolution` x `resolution` pixels."""
    model = build_on_meta(config)
    image = torch.empty(1, 3, resolution, resolution, device="meta")
    side = resolution // config.downsampling
    latent = torch.empty(1, config.latent_channels, side, side, device="meta")
    encoder_macs = count_macs(model.encoder, image)
    decoder_macs = count_macs(model.decoder, latent)
    return {
        "encoder_params": count_parameters(model.encoder),
        "decoder_params": count_parameters(model.decoder),
        "encoder_macs": encoder_macs,
        "decoder_macs": decoder_macs,
        "total_macs": encoder_macs + decoder_macs,
    }


def reductions(costs: Mapping[str, int], teacher: Mapping[str, int]) -> dict[str, float]:
    """Share of the teacher's cost that was saved, in percent, for decoder and total."""
    both = {
        "decoder_params": (costs["decoder_params"], teacher["decoder_params"]),
        "decoder_macs": (costs["decoder_macs"], teacher["decoder_macs"]),
        "total_params": (_total_params(costs), _total_params(teacher)),
        "total_macs": (costs["total_macs"], teacher["total_macs"]),
    }
    return {f"{name}_saved_percent": 100 * (1 - ours / full) for name, (ours, full) in both.items()}


def _total_params(costs: Mapping[str, int]) -> int:
    return costs["encoder_params"] + costs["decoder_params"]


@torch.inference_mode()
def decode_costs(
    models: Mapping[str, DCAE],
    resolution: int,
    *,
    warmup_runs: int,
    runs: int,
    device: torch.device,
) -> dict[str, dict[str, float | None]]:
    """Latency in ms and peak memory in MiB of decoding one image, for each model.

    The models take turns run by run, so that a drift of the machine's speed meets all alike.
    Memory is what decoding adds: on CUDA the allocator's peak, on Linux the process's peak
    resident set, elsewhere None.
    """
    config = next(iter(models.values())).config
    side = resolution // config.downsampling
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(1, config.latent_channels, side, side, generator=generator).to(device)
    times: dict[str, list[float]] = {name: [] for name in models}
    for run in range(warmup_runs + runs):
        for name, model in models.items():
            _synchronize(device)
            start = time.perf_counter()
            model.decode(latent)
            _synchronize(device)
            if run >= warmup_runs:
                times[name].append(1000 * (time.perf_counter() - start))
    return {
        name: {
            "latency_ms": statistics.median(times[name]),
            "latency_p90_ms": _percentile(times[name], 90),
            "peak_memory_mib": _peak_memory_mib(model, latent),
        }
        for name, model in models.items()
    }


def _percentile(values: list[float], percent: int) -> float:
    """The smallest value that at least `percent` of the values don't exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory_mib(model: DCAE, latent: Tensor) -> float | None:
    if latent.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(latent.device)
        before = torch.cuda.memory_allocated(latent.device)
        model.decode(latent)
        return (torch.cuda.max_memory_allocated(latent.device) - before) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present
        before = _resident_kib("VmRSS")
        model.decode(latent)
        return (_resident_kib("VmHWM") - before) / 1024
    except OSError:
        return None


def _resident_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
