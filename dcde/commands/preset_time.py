"""`dcde preset --time`: measure how fast a preset's student decodes, before anything is trained.

The weights are random, which changes no time. The preset's teacher stands beside the student, and
so does another published decoder of the same latents, if there is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import psutil
import torch

from dcde.base.devices import best_device, device_name
from dcde.base.errors import UserError
from dcde.base.work import human_bytes
from dcde.model import DCAEConfig, zoo_config
from dcde.model.costs import decoder_macs
from dcde.model.dcae import build_on_meta
from dcde.profile.latency import (
    DTYPES,
    Decode,
    compiled,
    decode_costs,
    decoders,
    example_latent,
    random_model,
)
from dcde.report.tables import markdown_table

PEERS = {
    "dc-ae-f32c32-sana-1.0": ("lite", "dc-ae-lite-f32c32"),
    "dc-ae-f32c32-sana-1.1": ("lite", "dc-ae-lite-f32c32"),
    "dc-ae-lite-f32c32": ("sana", "dc-ae-f32c32-sana-1.1"),
    "dc-ae-lite-f32c32-sana-1.1": ("sana", "dc-ae-f32c32-sana-1.1"),
}
"""Of a teacher: another decoder of its latents, as the table calls it and as the zoo does."""
WARMUP_RUNS, RUNS = 2, 5
COPIES = 4
"""Copies of the weights in memory: ours, diffusers' and those of the two ways to decode."""


def timings(
    name: str, teacher: DCAEConfig, student: DCAEConfig, sizes: Sequence[int], precision: str
) -> Iterator[str]:
    """Yield lines: the device, on a CPU how long it will take, and a table.

    On a GPU, decoders are also compiled, the optimized ones and diffusers'.

    Args:
        name: the preset's.
        sizes: sides of the images in pixels.

    Raises:
        UserError: for a size that the models can't decode, and for too little memory.
    """
    for size in sizes:
        teacher.check_image_size("--size", size)
    configs = {"teacher": teacher, name: student}
    if teacher.name in PEERS:
        label, peer_name = PEERS[teacher.name]
        configs[label] = zoo_config(peer_name)
    device, dtype = best_device(), DTYPES[precision]
    _check_memory(configs, device)
    yield f"{device_name(device)}, {precision}, random weights"
    models = {key: random_model(config) for key, config in configs.items()}
    ways = decoders(models, dtype, device)
    peer = "diffusers" if ("teacher", "diffusers") in ways else "plain"
    ways = {key: decode for key, decode in ways.items() if key[1] in (peer, "optimized")}
    if device.type == "cuda":
        ways |= {
            (key, f"{way}, compiled"): compiled(models[key], way, dtype)
            for key, way in ways
            if way != "plain"
        }
    latents = [example_latent(teacher, size, 1, seed=0).to(device, dtype) for size in sizes]
    try:
        if device.type == "cpu":
            yield _forecast(ways, configs, latents)
        rows = [["decoder", "way", "px", "ms", f"times the teacher's {peer}", "MiB"]]
        for size, latent in zip(sizes, latents, strict=True):
            costs = decode_costs(ways, latent, warmup_runs=WARMUP_RUNS, runs=RUNS)
            slow = costs["teacher", peer]["latency_ms"]
            assert slow is not None
            for (decoder, way), cost in costs.items():
                ms, memory = cost["latency_ms"], cost["peak_memory_mib"]
                assert ms is not None
                shown = "" if memory is None else f"{memory:.0f}"
                rows.append([decoder, way, str(size), f"{ms:.1f}", f"{slow / ms:.2f}", shown])
    except torch.OutOfMemoryError:
        raise UserError(f"--size: found {max(sizes)}, too large for the device's memory") from None
    yield markdown_table(rows)


def _check_memory(configs: Mapping[str, DCAEConfig], device: torch.device) -> None:
    """Reject models whose weights alone do not fit into the free memory."""
    count = sum(p.numel() for c in configs.values() for p in build_on_meta(c).parameters())
    needed = 4 * COPIES * count
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise UserError(
            f"--time: the weights of {', '.join(configs)} take {human_bytes(needed)} in all ways "
            f"to decode, but {human_bytes(free)} of memory are free"
        )


def _forecast(
    ways: Mapping[tuple[str, str], Decode],
    configs: Mapping[str, DCAEConfig],
    latents: Sequence[torch.Tensor],
) -> str:
    """Decode the smallest latent once in one way, and say how long all will take at that rate."""
    first, smallest = next(iter(ways)), min(latents, key=torch.Tensor.numel)

    def macs(decoder: str, latent: torch.Tensor) -> int:
        config = configs[decoder]
        return decoder_macs(config, latent.shape[2] * config.downsampling)

    ways[first](smallest)
    began = time.monotonic()
    ways[first](smallest)
    rate = macs(first[0], smallest) / (time.monotonic() - began)
    total = sum(macs(decoder, latent) for decoder, _ in ways for latent in latents)
    minutes = (WARMUP_RUNS + RUNS + 1) * total / rate / 60  # and once more for the memory
    return f"this takes about {max(1, round(minutes))} min on a CPU"
