"""How fast is TAESANA, the tiny decoder for Sana's latents, beside Sana's own in diffusers?

    git clone https://github.com/madebyollin/taesd
    python -m benchmarks.taesana taesd/taesd.py

TAESANA is not part of DCDE: its class comes from its own repository. Weights are random.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Annotated

import torch
import typer

from dcde.base.devices import best_device, device_name
from dcde.model import zoo_config
from dcde.profile.latency import (
    DTYPES,
    Decode,
    decode_costs,
    decoders,
    example_latent,
    random_model,
)
from dcde.report.tables import markdown_table

SIZE = 512
"""Side of the image in pixels."""


def main(
    taesd: Annotated[Path, typer.Argument(help="taesd.py of the clone.", exists=True)],
) -> None:
    config, device = zoo_config("dc-ae-f32c32-sana-1.1"), best_device()
    model, tiny = random_model(config), runpy.run_path(str(taesd))["F32Decoder"]
    rows = [["precision", "decoder", "ms", "times Sana's in diffusers"]]
    for precision, dtype in DTYPES.items():
        ways: dict[str, Decode] = {
            "sana": decoders({"sana": model}, dtype, device)["sana", "diffusers"],
            "taesana": tiny().to(device, dtype),
            "taesana, channels last": tiny().to(device, dtype, memory_format=torch.channels_last),
        }
        latent = example_latent(config, SIZE, 1, seed=0).to(device, dtype)
        costs = decode_costs(ways, latent, warmup_runs=1, runs=3)
        ms = {way: cost["latency_ms"] or 0.0 for way, cost in costs.items()}
        rows += [[precision, way, f"{ms[way]:.1f}", f"{ms['sana'] / ms[way]:.2f}"] for way in ways]
    print(device_name(device))
    print(markdown_table(rows))


if __name__ == "__main__":
    typer.run(main)
