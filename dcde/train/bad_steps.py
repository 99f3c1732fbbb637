"""Training steps whose loss or gradient is not finite: they are undone, reported and skipped.

Such a step is found before any weight, moment or average moves, and the statistics of batch norms,
which the forward pass moves, are restored. Training goes on with the next batch, so a bad file
costs one step and never a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

MAX_BAD_STEPS = 10
"""Steps of a run that may be skipped; beyond these, something other than the data is wrong."""


class NotFiniteError(Exception):
    """A step to skip; the message says what was not finite."""


@contextmanager
def undone_if_not_finite(*modules: nn.Module) -> Iterator[None]:
    """Restore the modules' buffers and drop their gradients if the step fails."""
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
    """Raise `NotFiniteError` for the first loss that is not finite."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise NotFiniteError(f"loss.{name} is {value}")
