"""How fast is decoding, against diffusers' `AutoencoderDC` with the same weights?

    python -m benchmarks.decoding --out benchmarks/results/decoding.json
    python -m benchmarks.decoding --compile      # also compiled, which takes minutes to start

All ways to decode a model take turns in one process: diffusers as it comes, our plain decoder and
`dcde.optimize`'s, in fp32 and in bf16 weights, on the GPU where there is one. `bundled` is the
bundled teacher, `f32c32` the architecture of dc-ae-f32c32-in-1.0 and `w4-v3` its student, both with
random weights. GFLOP/s stand beside those of a 3x3 convolution alone, which does most of a
decoder's work: how much there is left to win around it. On two CPU cores the full-size models take
ten minutes at 512 px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from dcde.base.devices import best_device, device_name
from dcde.base.results import write_metrics
from dcde.model import DCAE, zoo_config
from dcde.model.checkpoint import read_model
from dcde.model.costs import count_macs, decoder_macs
from dcde.profile.latency import DTYPES, decode_costs, decoders, example_latent
from dcde.report.tables import markdown_table

BUNDLED = Path("dcde/assets/dc-ae-f16c16-photos")
TEACHER, STUDENT = "f32c32", "w4-v3"
FULL_SIZE = {TEACHER: "dc-ae-f32c32-in-1.0", STUDENT: "dc-ae-f32c32-in-1.0-w4-v3"}
GROUPS = (("bundled",), (TEACHER, STUDENT))
"""Models that are timed in turns with each other: their latents are the same."""


def main(
    resolution: Annotated[int, typer.Option(help="Side of the image in pixels.")] = 512,
    batch: Annotated[int, typer.Option(help="Latents decoded at a time.")] = 1,
    runs: Annotated[int, typer.Option(help="Measured runs of each way.")] = 10,
    warmup_runs: Annotated[int, typer.Option(help="Runs before these.")] = 2,
    compile: Annotated[bool, typer.Option(help="Also torch.compile ours and diffusers'.")] = False,
    full_size: Annotated[bool, typer.Option(help="Also the full-size models.")] = True,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    device = best_device()
    print(f"{device_name(device)}, {resolution} px, batch {batch}\n")
    rates = {
        precision: convolution_gflops_per_s(dtype, device, warmup_runs, runs)
        for precision, dtype in DTYPES.items()
    }
    for precision, rate in rates.items():
        print(f"3x3 convolution alone, {precision}: {rate:.0f} GFLOP/s")
    found: dict[str, dict[str, float]] = {}
    for group in GROUPS if full_size else GROUPS[:1]:
        for precision, dtype in DTYPES.items():
            models = {name: _model(name) for name in group}
            config = models[group[0]].config
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
            for (name, way), values in costs.items():
                found[f"{name}, {precision}, {way}"] = {
                    **{key: value for key, value in values.items() if value is not None},
                    "gflops_per_s": _gflops_per_s(macs[name], values),
                    **_ratios(name, way, {key: cost["latency_ms"] for key, cost in costs.items()}),
                }
    print(f"\n{_table(found)}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"device": device_name(device), "resolution": resolution, "batch": batch}
        measured = {"convolution_gflops_per_s": rates, "decoders": found}
        write_metrics({**settings, **measured}, out)


def _model(name: str) -> DCAE:
    torch.manual_seed(0)
    return DCAE(zoo_config(FULL_SIZE[name])).eval() if name in FULL_SIZE else read_model(BUNDLED)


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
    name: str, way: str, latency_ms: dict[tuple[str, str], float | None]
) -> dict[str, float]:
    """How many times as fast as diffusers, compiled or not as it is, with the same weights.

    For the student, also as diffusers with its teacher's weights.
    """
    suffix = ", compiled" if way.endswith(", compiled") else ""
    peers = {"times_diffusers": name, "times_teacher_in_diffusers": TEACHER}
    return {
        ratio: latency_ms[peer, f"diffusers{suffix}"] / latency_ms[name, way]  # type: ignore[operator]
        for ratio, peer in peers.items()
        if ratio == "times_diffusers" or name == STUDENT
    }


def _table(found: dict[str, dict[str, float]]) -> str:
    head = ["decoder", "ms", "p10-p90", "images/s", "GFLOP/s", "MiB"]
    head += ["times diffusers", "times its teacher"]
    rows = [head]
    for name, values in found.items():
        times_teacher = values.get("times_teacher_in_diffusers")
        rows.append(
            [
                name,
                f"{values['latency_ms']:.1f}",
                f"{values['latency_p10_ms']:.1f}-{values['latency_p90_ms']:.1f}",
                f"{values['images_per_s']:.2f}",
                f"{values['gflops_per_s']:.0f}",
                f"{values.get('peak_memory_mib', float('nan')):.0f}",
                f"{values['times_diffusers']:.2f}",
                "" if times_teacher is None else f"{times_teacher:.2f}",
            ]
        )
    return markdown_table(rows)


if __name__ == "__main__":
    typer.run(main)
