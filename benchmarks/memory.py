"""How much memory do full-size distillation and decoding of large images take?

    python -m benchmarks.memory

Counted on tensors without values (see `dcde.distill.memory`), not measured: a training step of
preset w4-v25, and decoding of 4096 px in bf16 by Sana's decoder and the student of `sana-4x`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pipeline import params_with
from dcde.base.paths import PRESETS
from dcde.commands.preset import preset_models
from dcde.decode.optimize import optimize
from dcde.distill.memory import LiveBytes, step_bytes
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_peer import diffusers_model
from dcde.report.tables import markdown_table

PRESET, SANA_STUDENT = "w4-v25", "sana-4x"
LARGE = 4096


def main() -> None:
    rows = [["precision", "checkpoint_activations", "batch", "GiB"]]
    for precision in ("fp32", "bf16"):
        for checkpoint in (False, True):
            for batch_size in (4, 8):
                gib = step_gib(precision, checkpoint, batch_size)
                rows.append([precision, str(checkpoint).lower(), str(batch_size), f"{gib:.1f}"])
    print(markdown_table(rows))
    print()
    print(markdown_table([["decoder", f"{LARGE} px by", "GiB"], *decoding_rows()]))


def step_gib(precision: str, checkpoint: bool, batch_size: int) -> float:
    """Count the peak of a training step."""
    changes = {
        "distill.precision": precision,
        "distill.checkpoint_activations": checkpoint,
        "distill.batch_size": batch_size,
    }
    teacher, student = preset_models(PRESETS, PRESET)
    return step_bytes(student, teacher, params_with(changes, PRESET)) / 2**30


def decoding_gib(decoder: nn.Module, decode: Callable[[Tensor], Any], latent: Tensor) -> float:
    """Count the peak of decoding, the decoder's weights included."""
    live = LiveBytes()
    for tensor in decoder.state_dict().values():
        live.add(tensor)
    with live, torch.no_grad():
        decode(latent)
    return live.peak / 2**30


def decoding_rows() -> Iterator[list[str]]:
    """Decode an image of `LARGE` pixels in all ways."""
    teacher, student = preset_models(PRESETS, SANA_STUDENT)
    for name, config in (("f32c32-sana", teacher), (SANA_STUDENT, student)):
        model = build_on_meta(config).bfloat16().eval()
        side = LARGE // config.downsampling
        shape = (1, config.latent_channels, side, side)
        latent = torch.empty(shape, dtype=torch.bfloat16, device="meta")
        with torch.device("meta"):
            vae = diffusers_model(model).bfloat16()
        yield [name, "diffusers", f"{decoding_gib(vae.decoder, vae.decode, latent):.1f}"]
        for tile_size in (None, 1024, 512):
            decoder = optimize(model, tile_size=tile_size)
            tiles = "" if tile_size is None else f", tiles of {tile_size} px"
            gib = decoding_gib(decoder, decoder, latent)
            yield [name, f"dcde.optimize{tiles}", f"{gib:.1f}"]
        vae.enable_tiling()
        yield [name, "diffusers, tiling", f"{decoding_gib(vae.decoder, vae.decode, latent):.1f}"]


if __name__ == "__main__":
    main()
