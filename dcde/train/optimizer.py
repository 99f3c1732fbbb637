"""AdamW and one step of it, for the student and for the discriminator alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dcde.base.recipe import OptimizerParams
from dcde.train.bad_steps import NotFiniteError, check_losses


def adamw(parameters: Sequence[nn.Parameter], params: OptimizerParams) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=params.lr, betas=params.betas, weight_decay=params.weight_decay, fused=True
    )


def take_step(
    accelerator: Accelerator,
    optimizer: AcceleratedOptimizer,
    parameters: Sequence[nn.Parameter],
    losses: Mapping[str, Tensor],
    *,
    lr: float,
    grad_clip: float,
    blame: Callable[[], str],
) -> dict[str, float]:
    """Step by the gradients that the parameters have, and drop these; the losses as numbers.

    The program waits for the device once, where the losses and the gradients' norm are read
    together: whether a step is good must be known before the weights move.

    In fp16 gradients overflow now and then: that is how its loss scale, which falls at each such
    step, finds its value. There it is a fault only once the scale has fallen to 1.

    Args:
        losses: those that the gradients are of, the same on all processes.
        grad_clip: largest norm of all gradients together; 0 is off.
        blame: what to name where a gradient is not finite.

    Raises:
        NotFiniteError: if a loss or a gradient is not finite; no parameter has moved.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    accelerator.unscale_gradients(optimizer)
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    *values, norm_value = torch.stack([*losses.values(), norm]).tolist()
    found: dict[str, float] = dict(zip(losses, values, strict=True))
    scaler = accelerator.scaler
    try:
        check_losses(found)
        if not math.isfinite(norm_value) and (scaler is None or scaler.get_scale() <= 1):
            at_scale = "" if scaler is None else " at loss scale 1"
            raise NotFiniteError(f"the gradient of {blame()} is not finite{at_scale}")
    except NotFiniteError:
        if scaler is not None:
            scaler.update()  # it expects this, or a step, once gradients were unscaled
        raise
    if grad_clip:
        clip_grads_with_norm_(parameters, grad_clip, norm)
    optimizer.step()  # in fp16 nothing moves where the norm is not finite
    optimizer.zero_grad(set_to_none=True)
    return found
