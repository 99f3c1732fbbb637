"""How fast is a training step, compared with a plain loop on diffusers' models?

    python -m benchmarks.training --out training

A step on fixed random crops, in three ways:

plain loop    diffusers' `AutoencoderDC` as teacher and student, each encodes and decodes, fp32
fp32          the trainer's own step on cached latents
all switches  the same with bf16 and torch.compile
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from benchmarks.pipeline import params_with, trainer_step
from benchmarks.setting import Setting, about, table
from dcde.base.processes import make_accelerator
from dcde.base.results import write_metrics
from dcde.data.pixels import to_model_range
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE
from dcde.model.costs import decoder_macs
from dcde.model.diffusers_peer import diffusers_model
from dcde.params.pipeline import Params
from dcde.profile.latency import peak_memory_mib

PLAIN, FP32, ALL = "plain loop", "fp32", "all switches"
FULL_SIZE = ("in-3x", "w4-v25")
BATCHES = (16, 4)
COLUMNS = ("preset", "batch", "way", "images_per_s", "times_plain", "peak_memory_mib")


def main(
    out: Annotated[Path, typer.Option(help="Folder for training.json.")],
    preset: Annotated[list[str] | None, typer.Option(help="Presets; tiny if none.")] = None,
    batch: Annotated[int, typer.Option()] = 4,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    setting = Setting(out)
    found = measure(setting, preset or ["tiny"], [batch])
    print(f"{about(setting.device)['device']}\n\n{table(found['rows'], COLUMNS)}")
    write_metrics({**about(setting.device), **found}, out / "training.json")


def measure(
    setting: Setting, presets: Sequence[str] = FULL_SIZE, batches: Sequence[int] = BATCHES
) -> dict[str, Any]:
    """Return a row for each preset, batch and way."""
    rate = setting.matmul_gflops_per_s(torch.bfloat16)
    ways = [ALL, FP32, *([PLAIN] if importlib.util.find_spec("diffusers") else [])]
    rows: list[dict[str, Any]] = []
    for batch in map(setting.batch, batches):
        for preset in presets:
            for way in ways:
                if setting.has_time(f"{preset}, batch {batch}, {way}"):
                    rows.append(timed(setting, preset, batch, way, rate))
                    torch._dynamo.reset()
    plain = {(r["preset"], r["batch"]): r["ms"] for r in rows if r["way"] == PLAIN}
    for row in rows:
        if (ms := plain.get((row["preset"], row["batch"]))) is not None:
            row["times_plain"] = ms / row["ms"]
    return {"matmul_gflops_per_s": rate, "rows": rows}


def timed(setting: Setting, preset: str, batch: int, way: str, rate: float) -> dict[str, Any]:
    recipe = recipe_of(preset, setting, batch, all_switches=way == ALL)
    student, teacher = setting.model(preset), setting.teacher_of(preset)
    images = batch_of(setting, teacher, recipe)
    lpips = untrained_lpips().to(setting.device)
    step: Callable[[], Any]
    if way == PLAIN:
        step = partial(plain_step(teacher, student, recipe, lpips), images["pixels"])
    else:
        accelerator = make_accelerator(recipe.distill.precision)
        step = partial(trainer_step(student, teacher, recipe, lpips, accelerator), images)
    ms = setting.milliseconds(step, 8)
    row = {"preset": preset, "batch": batch, "way": way, "images_per_s": 1000 * batch / ms}
    row |= {"ms": ms, "peak_memory_mib": peak_memory_mib(step, setting.device)}
    if way == ALL:
        px = recipe.distill.crops.image_size
        ours, theirs = (decoder_macs(m.config, px) for m in (student, teacher))
        # A backward pass counts as two forward ones. LPIPS and PatchGAN are not counted.
        row["share_of_matmul_rate"] = 2 * batch * (3 * ours + theirs) / ms / 1e6 / rate
    return row


def recipe_of(preset: str, setting: Setting, batch: int, *, all_switches: bool) -> Params:
    """Return a preset's parameters at its image size, with bf16 and torch.compile or neither."""
    changes: dict[str, Any] = {
        "distill.batch_size": batch,
        "distill.samples_per_epoch": batch,
        "distill.precision": "bf16" if all_switches else "fp32",
        "distill.compile": all_switches and not setting.smoke,
        "loss.stream": 0.0,  # the plain loop lacks these two terms
        "loss.teacher_lpips": 0.0,
    }
    if preset in FULL_SIZE or setting.smoke:
        side = 64 if setting.smoke else 512
        changes["distill.crops"] = {"image_size": side, "short_side": [side, side]}
    return params_with(changes, preset)


def batch_of(setting: Setting, teacher: DCAE, recipe: Params) -> dict[str, Tensor]:
    """Draw fixed random crops and latents."""
    params, generator = recipe.distill, torch.Generator().manual_seed(0)
    side = params.crops.image_size
    small, channels = side // teacher.config.downsampling, teacher.config.latent_channels
    shape = (params.batch_size, 3, side, side)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    latent = torch.randn(params.batch_size, channels, small, small, generator=generator)
    return {"pixels": pixels.to(setting.device), "latent": latent.to(setting.device)}


def plain_step(
    teacher: DCAE, student: DCAE, recipe: Params, lpips: nn.Module
) -> Callable[[Tensor], None]:
    """Return the original's step on uint8 pixels: whole models of diffusers, hooks, fp32."""
    theirs, ours = (diffusers_model(model).requires_grad_(False) for model in (teacher, student))
    ours.train().decoder.requires_grad_(True)
    for frozen in (ours.decoder.norm_out, ours.decoder.conv_out):
        frozen.requires_grad_(False)
    features: dict[str, Tensor] = {}
    for name, vae in (("teacher", theirs), ("student", ours)):
        vae.decoder.conv_act.register_forward_hook(
            lambda module, inputs, output, name=name: features.update({name: output})
        )
    optimizer = torch.optim.AdamW(ours.decoder.parameters(), lr=recipe.optimizer.lr)

    def step(pixels: Tensor) -> None:
        image = to_model_range(pixels)
        with torch.no_grad():
            theirs(image)
        reconstruction = ours(image).sample
        loss = (
            recipe.loss.feature * F.l1_loss(features["student"], features["teacher"])
            + recipe.loss.image * F.l1_loss(reconstruction, image)
            + recipe.loss.lpips * lpips(reconstruction, image).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    typer.run(main)
