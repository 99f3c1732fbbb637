"""How fast is decoding, against diffusers' `AutoencoderDC` with the same weights?

    python -m benchmarks.decoding --out decoding.json
    python -m benchmarks.decoding --only bundled --compile    # also compiled, which starts slowly

All ways to decode a model take turns in one process: diffusers as it comes, our plain decoder and
`dcde.optimize`'s, in fp32 and in bf16 weights, on the GPU where there is one. A group is a teacher
and its students: `bundled` is the bundled teacher alone, the others have the published
architectures and those of presets, with random weights. GFLOP/s stand beside those of a 3x3
convolution alone, which does most of a decoder's work: how much there is left to win around it. On
two CPU cores the full-size models take half an hour at 512 px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from benchmarks.models import full_size_config, random_model
from dcde.base.devices import best_device, device_name
from dcde.base.results import write_metrics
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.model.costs import count_macs, decoder_macs
from dcde.profile.latency import DTYPES, decode_costs, decoders, example_latent
from dcde.report.tables import markdown_table

BUNDLED = Path("dcde/assets/dc-ae-f16c16-photos")
GROUPS = {
    "bundled": ("bundled",),
    "f32c32-in": ("f32c32-in", "w4-v3", "in-6x"),
    "sana": ("sana", "sana-2x", "sana-4x"),
}
"""Models that are timed in turns with each other: their latents are the same."""


def main(
    resolution: Annotated[int, typer.Option(help="Side of the image in pixels.")] = 512,
    batch: Annotated[int, typer.Option(help="Latents decoded at a time.")] = 1,
    runs: Annotated[int, typer.Option(help="Measured runs of each way.")] = 10,
    warmup_runs: Annotated[int, typer.Option(help="Runs before these.")] = 2,
    compile: Annotated[bool, typer.Option(help="Also torch.compile ours and diffusers'.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(GROUPS)}.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="Some of fp32, bf16.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    dtypes = {name: dtype for name, dtype in DTYPES.items() if name in (precision or DTYPES)}
    device = best_device()
    print(f"{device_name(device)}, {resolution} px, batch {batch}\n")
    rates = {
        name: convolution_gflops_per_s(dtype, device, warmup_runs, runs)
        for name, dtype in dtypes.items()
    }
    for name, rate in rates.items():
        print(f"3x3 convolution alone, {name}: {rate:.0f} GFLOP/s")
    found: dict[str, dict[str, float]] = {}
    for teacher in only or GROUPS:
        for weights, dtype in dtypes.items():
            models = {name: _model(name) for name in GROUPS[teacher]}
            config = models[teacher].config
            ways = decoders(models, dtype, device)
            if compile:
                ways |= {
                    (name, f"{way}, compiled"): torch.compile(decode)
                    for (name, way), decode in ways.items()
                    if way != "plain"
                }
            latent = example_latent(config, resolution, batch, seed=0).to(device, dtype)
            costs = decode_costs(ways, latent, warmup_runs=warmup_runs, runs=runs)
            macs = {
                name: batch * decoder_macs(model.config, resolution)
                for name, model in models.items()
            }
            latencies = {key: cost["latency_ms"] for key, cost in costs.items()}
            for (name, way), values in costs.items():
                found[f"{name}, {weights}, {way}"] = {
                    **{key: value for key, value in values.items() if value is not None},
                    "gflops_per_s": _gflops_per_s(macs[name], values),
                    **_ratios(name, way, teacher, latencies),
                }
    print(f"\n{_table(found)}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"device": device_name(device), "resolution": resolution, "batch": batch}
        measured = {"convolution_gflops_per_s": rates, "decoders": found}
        write_metrics({**settings, **measured}, out)


def _model(name: str) -> DCAE:
    return read_model(BUNDLED) if name == "bundled" else random_model(full_size_config(name))


def convolution_gflops_per_s(
    dtype: torch.dtype, device: torch.device, warmup_runs: int, runs: int
) -> float:
    """Rate of the convolution that f32c32 spends most of its work on, in GFLOP/s."""
    conv = nn.Conv2d(512, 512, 3, padding=1)
    conv = conv.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, 512, 128, 128).to(device, dtype, memory_format=torch.channels_last)
    cost = decode_costs({"conv": conv}, x, warmup_runs=warmup_runs, runs=runs)["conv"]
    return _gflops_per_s(count_macs(conv, x), cost)


def _gflops_per_s(macs: int, cost: dict[str, float | None]) -> float:
    return 2 * macs / cost["latency_ms"] / 1e6  # type: ignore[operator]


def _ratios(
    name: str, way: str, teacher: str, latency_ms: dict[tuple[str, str], float | None]
) -> dict[str, float]:
    """How many times as fast as diffusers, compiled or not as it is, with the same weights.

    For a student, also as diffusers with its teacher's weights. diffusers' class lacks some.
    """
    suffix = ", compiled" if way.endswith(", compiled") else ""
    peers = {"times_diffusers": name}
    if name != teacher:
        peers["times_teacher_in_diffusers"] = teacher
    return {
        ratio: took / latency_ms[name, way]  # type: ignore[operator]
        for ratio, peer in peers.items()
        if (took := latency_ms.get((peer, f"diffusers{suffix}"))) is not None
    }


def _table(found: dict[str, dict[str, float]]) -> str:
    head = ["decoder", "ms", "p10-p90", "images/s", "GFLOP/s", "MiB"]
    head += ["times diffusers", "times its teacher"]
    rows = [head]
    for name, values in found.items():
        ratios = (values.get(key) for key in ("times_diffusers", "times_teacher_in_diffusers"))
        rows.append(
            [
                name,
                f"{values['latency_ms']:.1f}",
                f"{values['latency_p10_ms']:.1f}-{values['latency_p90_ms']:.1f}",
                f"{values['images_per_s']:.2f}",
                f"{values['gflops_per_s']:.0f}",
                f"{values.get('peak_memory_mib', float('nan')):.0f}",
                *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            ]
        )
    return markdown_table(rows)


if __name__ == "__main__":
    typer.run(main)
