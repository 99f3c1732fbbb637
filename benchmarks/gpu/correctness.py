"""Does a GPU compute what a CPU does? In fp32 without TF32. And does fp16 train?"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from benchmarks.full_size import one_step
from benchmarks.pipeline import pruned, trainer_step
from benchmarks.setting import Setting
from benchmarks.training import batch_of, recipe_of
from dcde.base.processes import make_accelerator
from dcde.decode.optimize import optimize
from dcde.metrics.lpips import untrained_lpips
from dcde.metrics.pictures import batch_psnr_db
from dcde.model import DCAE

PRESET, TEACHER = "w4-v25", "f32c32-in"
FP16_STEPS = 50


def measure(setting: Setting) -> dict[str, Any]:
    """Return relative errors of the GPU, and the fate of fp16's steps, on thin models."""
    thin, cpu = setting.thinned(), setting.thinned(torch.device("cpu"))
    found: dict[str, Any] = {}
    with exact_fp32():
        for name in (TEACHER, "sana", "in-6x"):
            model, reference = thin.model(name), cpu.model(name)
            reference.load_state_dict(model.state_dict())
            found |= {f"{name}: {k}": v for k, v in model_errors(thin, model, reference).items()}
        found |= step_errors(thin, cpu) | repair_errors(thin, cpu)
    if setting.device.type == "cuda":
        found |= fp16_steps(thin)
    return found


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the expected norm, in double precision."""
    a, b = (x.detach().double().cpu() for x in (found, expected))
    return ((a - b).norm() / b.norm()).item()


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Turn off TF32, which rounds the inputs of products to 10 bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@torch.no_grad()
def model_errors(setting: Setting, model: DCAE, reference: DCAE) -> dict[str, float]:
    image = torch.rand(2, 3, 64, 96) * 2 - 1
    latent = reference.encode(image)
    here = latent.to(setting.device)
    decoded, expected = model.decode(here), reference.decode(latent)
    lpips = untrained_lpips()
    distance = copy.deepcopy(lpips).to(setting.device)(decoded, image.to(setting.device))
    psnr = batch_psnr_db(decoded, image.to(setting.device))
    return {
        "encoder": relative_error(model.encode(image.to(setting.device)), latent),
        "decoder": relative_error(decoded, expected),
        "optimized": relative_error(optimize(model)(here), expected),
        "lpips": relative_error(distance, lpips(expected, image)),
        "psnr": relative_error(psnr, batch_psnr_db(expected, image)),
    }


def step_errors(setting: Setting, cpu: Setting) -> dict[str, float]:
    """Compare losses and weights after three steps with a GAN."""
    ours, losses = trained(setting, make_accelerator("fp32"))
    with cpu_accelerator() as accelerator:
        theirs, expected = trained(cpu, accelerator)
    errors = [abs(losses[name] - v) / max(abs(v), 1e-6) for name, v in expected.items()]
    error = relative_error(decoder_weights(ours), decoder_weights(theirs))
    return {"losses of three steps": max(errors), "weights after three steps": error}


@contextmanager
def cpu_accelerator() -> Iterator[Accelerator]:
    """Yield an accelerator for the CPU, and remove all trace of it afterwards."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield Accelerator(cpu=True)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def decoder_weights(model: DCAE) -> Tensor:
    """Return all weights of the decoder as one vector on the CPU."""
    return torch.cat([p.detach().flatten().cpu() for p in model.decoder.parameters()])


def trained(
    setting: Setting, accelerator: Accelerator, steps: int = 3
) -> tuple[DCAE, dict[str, float]]:
    """Return a student after some steps on a fixed batch, and its last losses."""
    recipe = recipe_of(PRESET, setting, 4, all_switches=False)
    student, teacher = setting.model(PRESET), setting.model(TEACHER)
    torch.manual_seed(0)
    lpips = untrained_lpips()
    batch = batch_of(setting, teacher, recipe)
    step = trainer_step(student, teacher, recipe, lpips, accelerator)
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = step(batch)
    return student, losses


def repair_errors(setting: Setting, cpu: Setting) -> dict[str, float]:
    """Compare students that were pruned and repaired on both."""
    images = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = (
        pruned(
            side.model(TEACHER),
            one_step(side, "in-6x").prune,
            images,
            untrained_lpips(),
            device=side.device,
        ).cpu()
        for side in (setting, cpu)
    )
    with torch.no_grad():
        latent = theirs.encode(images)
        error = relative_error(ours.decode(latent), theirs.decode(latent))
    return {"decoder of a repaired student": error}


def fp16_steps(setting: Setting) -> dict[str, Any]:
    """Count the skipped steps of 50 in fp16 by how far the loss scale fell."""
    accelerator = make_accelerator("fp16")
    _, losses = trained(setting, accelerator, FP16_STEPS)
    scaler = accelerator.scaler
    halvings = math.log2(scaler.get_init_scale() / scaler.get_scale())
    return {"fp16: steps skipped of 50": halvings, "fp16: loss at the end": losses["total"]}
