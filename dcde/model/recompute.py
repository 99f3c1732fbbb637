"""Activation checkpointing (Chen et al., arXiv 1604.06174): less memory for more time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """Return `block(x)`; keep only x for the backward pass, which recomputes the rest."""
    y: Tensor = checkpoint(
        block,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing in a block is random
        context_fn=lambda: (nullcontext(), _statistics_at_rest(block)),
    )
    return y


@contextmanager
def _statistics_at_rest(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics and counters of batch norms, which normalize by the batch.

    They still get their statistics, or the tensors kept for the backward pass would not match.
    """
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counters = [c for norm in norms if (c := norm.num_batches_tracked) is not None]
    before = [counter.clone() for counter in counters]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for counter, old in zip(counters, before, strict=True):
            counter.copy_(old)
