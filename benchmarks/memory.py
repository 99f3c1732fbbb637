"""How much memory do the full-size distillation and decoding of large images take?

    python -m benchmarks.memory

Counted on tensors without values (see `dcde.distill.memory`), not measured: a step with the recipe
of preset w4-v25; decoding of 4096 px in bf16, by Sana's decoder and the student of `sana-4x`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.recipe import of_preset
from dcde.base.paths import PRESETS
from dcde.params.training import Recipe
from dcde.commands.preset import preset_row
from dcde.decode.optimize import optimize
from dcde.distill.memory import LiveBytes, step_bytes
from dcde.model import zoo_config
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_peer import diffusers_model
from dcde.report.tables import markdown_table

TEACHER, STUDENT = "dc-ae-f32c32-in-1.0", "dc-ae-f32c32-in-1.0-w4-v3"
PRESET = "w4-v25"
SANA_STUDENT = "sana-4x"
LARGE = 4096


def peak_gib(recipe: Recipe, *, batch_size: int, precision: str, checkpoint: bool) -> float:
    """Of a step of w4-v3 with these settings."""
    changes = {
        "batch_size": batch_size,
        "precision": precision,
        "checkpoint_activations": checkpoint,
    }
    changed = recipe.model_copy(update={"distill": recipe.distill.model_copy(update=changes)})
    return step_bytes(zoo_config(STUDENT), zoo_config(TEACHER), changed) / 2**30


def decoding_gib(decoder: nn.Module, decode: Callable[[Tensor], Any], latent: Tensor) -> float:
    """Peak of decoding a latent, the decoder's weights included."""
    live = LiveBytes()
    for tensor in decoder.state_dict().values():
        live.add(tensor)
    with live, torch.no_grad():
        decode(latent)
    return live.peak / 2**30


def decoding_rows() -> Iterator[list[str]]:
    """The ways to decode an image of `LARGE` pixels, with what each takes at its peak."""
    row = preset_row(PRESETS, SANA_STUDENT)
    teacher, student = zoo_config(row.teacher), row.student
    for name, config in (("f32c32-sana", teacher), (SANA_STUDENT, student)):
        model = build_on_meta(config).bfloat16().eval()
        side = LARGE // config.downsampling
        latent = torch.empty(
            1, config.latent_channels, side, side, dtype=torch.bfloat16, device="meta"
        )
        with torch.device("meta"):
            vae = diffusers_model(model).bfloat16()
        ways = {"diffusers": (vae.decoder, vae.decode)}
        for tile_size in (None, 1024, 512):
            decoder = optimize(model, tile_size=tile_size)
            tiles = "" if tile_size is None else f", tiles of {tile_size} px"
            ways[f"dcde.optimize{tiles}"] = (decoder, decoder)
        for way, (decoder, decode) in ways.items():
            yield [name, way, f"{decoding_gib(decoder, decode, latent):.1f}"]
        vae.enable_tiling()
        yield [name, "diffusers, tiling", f"{decoding_gib(vae.decoder, vae.decode, latent):.1f}"]


def main() -> None:
    recipe = of_preset(PRESET)
    rows = [["precision", "checkpoint_activations", "batch", "GiB"]]
    for precision in ("fp32", "bf16"):
        for checkpoint in (False, True):
            for batch_size in (4, 8):
                peak = peak_gib(
                    recipe, batch_size=batch_size, precision=precision, checkpoint=checkpoint
                )
                rows.append([precision, str(checkpoint).lower(), str(batch_size), f"{peak:.1f}"])
    print(markdown_table(rows))
    print()
    print(markdown_table([["decoder", f"{LARGE} px by", "GiB"], *decoding_rows()]))


if __name__ == "__main__":
    main()
