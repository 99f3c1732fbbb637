"""Steps that must not count: a loss or a gradient that is not finite.

Nothing of such a step is kept. No weight, moment or average has moved when it is found, and the
statistics of batch norms, which a forward pass moves, are put back. Training goes on with the next
batch, so the same data is never tried for ever; learning rate, weights of the loss and data stay
as they are. Where several steps fail in a row, the weights are suspected rather than the data:
see `dcde.train.trainer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

B = TypeVar("B")


class NotFiniteError(Exception):
    """A step to be skipped; the message names the term."""


@contextmanager
def undone_if_not_finite(*modules: nn.Module) -> Iterator[None]:
    """Put the modules' buffers back and drop their gradients when a step fails."""
    before = [[buffer.clone() for buffer in module.buffers()] for module in modules]
    try:
        yield
    except NotFiniteError:
        for module, buffers in zip(modules, before, strict=True):
            module.zero_grad(set_to_none=True)
            for buffer, old in zip(module.buffers(), buffers, strict=True):
                buffer.copy_(old)
        raise


def check_losses(losses: Mapping[str, float]) -> None:
    """Raise `NotFiniteError`, naming the first loss that is not finite."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise NotFiniteError(f"loss.{name} is {value}")


def blame_gradient(
    losses_of: Callable[[B], Mapping[str, Tensor]],
    batches: Sequence[B],
    parameters: Sequence[nn.Parameter],
    any_process: Callable[[bool], bool],
) -> str | None:
    """The first term whose own gradient is not finite, found by computing each again.

    None if each is: then it is their sum, or what torch.compile makes of it. The terms are computed
    without that, as the graph of a compiled module can be walked once only.

    Args:
        losses_of: batch to the loss of each term.
        any_process: whether a flag is set on any process; all must ask it equally often.
    """
    with torch.compiler.set_stance("force_eager"):
        for batch in batches:
            for name, loss in losses_of(batch).items():
                gradients = torch.autograd.grad(
                    loss, parameters, retain_graph=True, allow_unused=True
                )
                norm = get_total_norm([g for g in gradients if g is not None])
                if any_process(not math.isfinite(norm.item())):
                    return f"loss.{name}"
    return None
