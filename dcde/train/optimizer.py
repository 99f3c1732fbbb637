"""AdamW and one step of it, for the student and for the discriminator alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dcde.base.recipe import OptimizerParams
from dcde.train.bad_steps import NotFiniteError


def adamw(parameters: Sequence[nn.Parameter], params: OptimizerParams) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=params.lr, betas=params.betas, weight_decay=params.weight_decay, fused=True
    )


def take_step(
    accelerator: Accelerator,
    optimizer: AcceleratedOptimizer,
    parameters: Sequence[nn.Parameter],
    *,
    lr: float,
    grad_clip: float,
    blame: Callable[[], str],
) -> None:
    """Step by the gradients that the parameters have, and drop these.

    In fp16 gradients overflow now and then: that is how its loss scale, which falls at each such
    step, finds its value. There it is a fault only once the scale is below 1.

    Args:
        grad_clip: largest norm of all gradients together; 0 is off.
        blame: what to name where a gradient is not finite.

    Raises:
        NotFiniteError: if it is not; no parameter has moved.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    accelerator.unscale_gradients(optimizer)
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    scaler = accelerator.scaler
    if scaler is None and not math.isfinite(norm.item()):
        raise NotFiniteError(f"the gradient of {blame()} is not finite")
    if grad_clip:
        clip_grads_with_norm_(parameters, grad_clip, norm)
    optimizer.step()
    if optimizer.step_was_skipped and scaler.get_scale() < 1:
        raise NotFiniteError(f"the gradient of {blame()} is not finite at loss scale 1")
    optimizer.zero_grad(set_to_none=True)
