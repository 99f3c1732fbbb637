"""Run single steps of the pipeline: read parameters, prune, train for one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dcde.base.devices import best_device
from dcde.base.paths import PARAMS, PRESETS
from dcde.commands.preset import merge, read_preset
from dcde.distill.task import distill_learner
from dcde.model import DCAE
from dcde.params.file import read_raw, validate
from dcde.params.pipeline import Params, PruneParams
from dcde.prune.prune import prune


def params_with(changes: Mapping[str, Any], preset: str | None = None) -> Params:
    """Return params.yaml with a preset, and with changes such as {"loss.gamma": 0.3}."""
    raw = merge(read_raw(PARAMS), read_preset(PRESETS, preset) if preset else {})
    for name, value in changes.items():
        for key in reversed(name.split(".")):
            value = {key: value}
        raw = merge(raw, value)
    return validate(raw, Params, where=preset or str(PARAMS))


def pruned(
    teacher: DCAE,
    params: PruneParams,
    images: Tensor,
    lpips: nn.Module,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> DCAE:
    """Prune and repair on calibration images, (B, 3, H, W) in [-1, 1]."""
    device = device or best_device()
    images, lpips = images.to(device), lpips.to(device)
    return prune(
        teacher,
        params,
        images=lambda: images,
        lpips_metric=lambda: lpips,
        seed=seed,
        device=device,
    ).student


def trainer_step(
    student: DCAE, teacher: DCAE, params: Params, lpips: nn.Module, accelerator: Accelerator
) -> Callable[[Mapping[str, Tensor]], dict[str, float]]:
    """Return the trainer's step: a batch to the losses, with the discriminator's if there is one.

    A batch has uint8 `pixels` and their `latent`.
    """
    lpips = lpips.to(accelerator.device)
    frozen = teacher.decoder.requires_grad_(False).eval()
    learner = distill_learner(student, frozen, params, accelerator, lambda: lpips, {})
    weights, adversary = params.loss.weights(), learner.adversary

    def step(batch: Mapping[str, Tensor]) -> dict[str, float]:
        prediction, losses = learner.step([dict(batch)], weights, lr=1e-4)
        if adversary is not None:
            losses["discriminator"] = adversary.step(prediction, 1e-4)
        return losses

    return step
