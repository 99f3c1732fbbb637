"""Does a GPU compute what a CPU does? In fp32, without TF32; and fp16, whose scaler only it has."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.gpu.repair import smoke_prune
from benchmarks.gpu.setting import Setting, relative_error
from benchmarks.gpu.training import batch_of, recipe_of
from dcde.base.processes import cpu_accelerator, make_accelerator
from dcde.params.training import Recipe
from dcde.decode.optimize import optimize
from dcde.distill.step import step_of
from dcde.metrics.lpips import untrained_lpips
from dcde.metrics.pictures import batch_psnr_db
from dcde.model import DCAE
from dcde.prune.prune import prune

FP16_STEPS = 50


def measure(setting: Setting) -> dict[str, Any]:
    """Relative errors of the GPU, and what became of fp16's steps; on thin models."""
    thin, cpu = setting.thinned(), setting.thinned(torch.device("cpu"))
    found: dict[str, Any] = {}
    with exact_fp32():
        for name in ("f32c32-in", "sana", "in-6x"):
            model, reference = thin.model(name), cpu.model(name)
            reference.load_state_dict(model.state_dict())
            found |= {f"{name}: {k}": v for k, v in model_errors(thin, model, reference).items()}
        found |= step_errors(thin, cpu) | repair_errors(thin, cpu)
    if setting.device.type == "cuda":
        found |= fp16_steps(thin)
    return found


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Without TF32, which rounds the inputs of products to 10 bits."""
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
    """Of the losses of three steps with all terms and a GAN, and of the weights after them."""
    recipe = recipe_of("w4-v25", setting, 4, all_switches=False)
    ours, losses = trained(setting, recipe, make_accelerator("fp32"))
    with cpu_accelerator("fp32") as accelerator:
        theirs, expected = trained(cpu, recipe, accelerator)
    errors = [abs(losses[name] - v) / max(abs(v), 1e-6) for name, v in expected.items()]
    a, b = (torch.cat([p.flatten().cpu() for p in m.decoder.parameters()]) for m in (ours, theirs))
    return {"losses of three steps": max(errors), "weights after three steps": relative_error(a, b)}


def trained(
    setting: Setting, recipe: Recipe, accelerator: Accelerator, steps: int = 3
) -> tuple[DCAE, dict[str, float]]:
    """A student of fixed random weights after some steps on a fixed batch, and its last losses."""
    student, teacher = setting.model("w4-v3"), setting.model("f32c32-in")
    torch.manual_seed(0)
    lpips = untrained_lpips().to(setting.device)
    batch = batch_of(setting, teacher, recipe)
    learner, adversary = step_of(student, teacher, recipe, accelerator, lambda: lpips)
    assert adversary is not None
    losses: dict[str, float] = {}
    for _ in range(steps):
        prediction, losses = learner.step([batch], recipe.loss.weights(), lr=1e-4, resting=())
        losses["discriminator"] = adversary.step(prediction, 1e-4)
    return student, losses


def repair_errors(setting: Setting, cpu: Setting) -> dict[str, float]:
    """Of the decoder of a student that was pruned and repaired on both."""
    students = []
    images = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for side in (setting, cpu):
        params = smoke_prune(side, "in-6x", recipe_of("in-6x", side, 4, all_switches=False))
        students.append(
            prune(
                side.model("f32c32-in"),
                params,
                images=partial(images.to, side.device),
                lpips_metric=partial(untrained_lpips().to, side.device),
                seed=0,
                device=side.device,
            ).student.cpu()
        )
    with torch.no_grad():
        latent = students[1].encode(images)
        a, b = (student.decode(latent) for student in students)
    return {"decoder of a repaired student": relative_error(a, b)}


def fp16_steps(setting: Setting) -> dict[str, Any]:
    """How many of 50 steps in fp16 were skipped, by the loss scale that is left."""
    recipe = recipe_of("w4-v25", setting, 4, all_switches=False)
    accelerator = make_accelerator("fp16")
    _, losses = trained(setting, recipe, accelerator, FP16_STEPS)
    scaler = accelerator.scaler
    halvings = math.log2(scaler.get_init_scale() / scaler.get_scale())
    return {"fp16: steps skipped of 50": halvings, "fp16: loss at the end": losses["total"]}
