"""AdamW and one step of it, for the generator and the discriminator alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dcde.params.training import AdamWParams
from dcde.train.bad_steps import NotFiniteError, check_losses


def adamw(parameters: Sequence[nn.Parameter], params: AdamWParams) -> torch.optim.AdamW:
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
    grad_clip: float = 0.0,
) -> dict[str, float]:
    """Step along the parameters' gradients and drop them; return the losses as numbers.

    The program waits for the device only once, to read the losses and the gradient norm together:
    it must know that a step is good before any weight moves.

    In fp16, gradients overflow now and then: this is how the loss scale, which falls each time,
    finds its value. An overflow is an error only once the scale has fallen to 1.

    Args:
        losses: those behind the gradients, the same on all processes.
        grad_clip: largest norm of all gradients together; 0 is off.

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
            shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            raise NotFiniteError(f"the gradient is not finite, though the losses are ({shown})")
    except NotFiniteError:
        if scaler is not None:
            scaler.update()  # it expects this, or a step, once gradients were unscaled
        raise
    if grad_clip:
        clip_grads_with_norm_(parameters, grad_clip, norm)
    optimizer.step()  # in fp16 nothing moves if the norm is not finite
    optimizer.zero_grad(set_to_none=True)
    return found
