"""How fast is a step of distillation, against a plain loop as the original did it?

    python -m benchmarks.training --out benchmarks/results/training.json

Three variants in turns, each in a process of its own, on the teacher, photos and loss of the
pipeline (run `dvc repro` first):

plain   diffusers' `AutoencoderDC` as teacher and student; in each step a crop is read, both models
        encode and decode it whole, fp32
ours    cached latents, decoders only, fp32
fast    ours with bf16 and torch.compile
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from dcde.base.devices import best_device, device_name, synchronize
from dcde.params.pipeline import Params
from dcde.params.file import load_params
from dcde.base.paths import LPIPS, MANIFEST, PARAMS, PRUNED, TEACHER
from dcde.params.training import Recipe
from dcde.base.results import write_metrics
from dcde.data.crops import CropDataset
from dcde.data.manifest import Manifest
from dcde.data.pixels import to_model_range
from dcde.data.plan import EpochPlan
from dcde.distill.distill import distill
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.model.costs import static_costs
from dcde.model.diffusers_peer import diffusers_model
from dcde.report.tables import markdown_table

VARIANTS = ("plain", "ours", "fast")


def main(
    rounds: Annotated[int, typer.Option(help="How often each variant runs.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps in each measured epoch.")] = 30,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    variant: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    if variant is not None:
        print(json.dumps(measure(variant, steps)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name in VARIANTS:
            command = [sys.executable, "-m", "benchmarks.training", "--variant", name]
            done = subprocess.run(
                [*command, "--steps", str(steps)], stdout=subprocess.PIPE, text=True, check=True
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    table = summarize(found)
    device, bound = device_name(best_device()), mac_bound()
    print(
        f"\n{device}, medians of {rounds} rounds; by MACs alone ours is {bound:.2f} times plain\n"
    )
    rows = [["variant", "images/s", "times plain", "peak memory MiB"]]
    for name, row in table.items():
        speed, times = f"{row['images_per_s']:.2f}", f"{row['times_plain']:.2f}"
        rows.append([name, speed, times, f"{row['peak_memory_mib']:.0f}"])
    print(markdown_table(rows))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_metrics({**table, "mac_bound": bound, "device": device}, out)


def summarize(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds; the ratio is of variants of the same round."""
    table = {}
    for name, runs in found.items():
        ratios = [
            run["images_per_s"] / plain["images_per_s"]
            for run, plain in zip(runs, found["plain"], strict=True)
        ]
        table[name] = {
            "images_per_s": statistics.median(run["images_per_s"] for run in runs),
            "peak_memory_mib": statistics.median(run["peak_memory_mib"] for run in runs),
            "times_plain": statistics.median(ratios),
        }
    return table


def measure(variant: str, steps: int) -> dict[str, float]:
    """Images/s of the second and third epoch; the first warms up and compiles."""
    params = load_params(PARAMS, Params)
    marks: list[float] = []

    def epoch_done() -> None:
        synchronize(best_device())
        marks.append(time.perf_counter())

    if variant == "plain":
        plain_loop(params, steps, epoch_done)
    else:
        our_loop(params, steps, epoch_done, fast=variant == "fast")
    images = steps * params.distill.batch_size
    memory = (
        torch.cuda.max_memory_allocated() / 2**20
        if best_device().type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    speeds = [images / (b - a) for a, b in itertools.pairwise(marks)]
    return {"images_per_s": statistics.median(speeds), "peak_memory_mib": memory}


def our_loop(params: Params, steps: int, epoch_done: Callable[[], None], *, fast: bool) -> None:
    changes: dict[str, Any] = {
        "epochs": 3,
        "samples_per_epoch": steps * params.distill.batch_size,
        "division_epoch": 1,
        "validation_photos": 0,
        "precision": "bf16" if fast else "fp32",
        "compile": fast,
    }
    terms = {"stream": 0.0, "teacher_lpips": 0.0}  # which the plain loop has not
    loss = params.loss.model_copy(update=terms)
    train = params.distill.model_copy(update=changes)
    with tempfile.TemporaryDirectory() as folder:
        distill(
            read_model(PRUNED),
            read_model(TEACHER),
            Manifest.load(MANIFEST).train,
            params.model_copy(update={"distill": train, "loss": loss}),
            lpips_weights=LPIPS,
            state_dir=Path(folder) / "state",
            cache_dir=Path(folder) / "latents",
            on_epoch=lambda epoch, model: epoch_done(),
        )


def plain_loop(params: Params, steps: int, epoch_done: Callable[[], None]) -> None:
    """The original's loop: in each step crops are read, and both models encode and decode them."""
    device = best_device()
    teacher, student = (read_model(path).to(device) for path in (TEACHER, PRUNED))
    step = plain_step(teacher, student, params, load_lpips(LPIPS).to(device))
    distillation = params.distill
    plan = EpochPlan(
        Manifest.load(MANIFEST).train,
        distillation.crops,
        samples=steps * distillation.batch_size,
        crops_per_image=distillation.crops_per_image,
        seed=params.seed,
    )
    for epoch in range(3):
        loader = DataLoader(
            CropDataset(plan.crops(epoch)),
            distillation.batch_size,
            num_workers=params.runtime.loader_workers(),
        )
        for batch in tqdm(loader, desc=f"plain {epoch + 1}/3"):
            step(batch["pixels"].to(device))
        epoch_done()


def plain_step(
    teacher: DCAE, student: DCAE, recipe: Recipe, lpips: nn.Module
) -> Callable[[Tensor], None]:
    """The original's step on pixels in uint8, from its description: whole models of diffusers,
    hooks for the features, fp32."""
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


def mac_bound() -> float:
    """MACs of a plain step over those of ours; a decoder's backward counts as two forwards."""
    params = load_params(PARAMS, Params)
    size = params.distill.crops.image_size
    teacher = static_costs(read_model(TEACHER).config, size)
    student = static_costs(read_model(PRUNED).config, size)
    image = torch.zeros(1, 3, size, size)
    network = load_lpips(LPIPS)
    with FlopCounterMode(display=False) as counter:  # of both images, and back to the pixels
        network(image.requires_grad_(), image.detach()).sum().backward()
    judge = counter.get_total_flops() // 2
    decoders = teacher["decoder_macs"] + 3 * student["decoder_macs"] + judge
    return (2 * teacher["encoder_macs"] + decoders) / decoders


if __name__ == "__main__":
    typer.run(main)
