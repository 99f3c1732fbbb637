"""Batch norms over the batch of all processes, so that their number changes no result.

Under plain data parallelism, as in DC-AE's published trainer, each process norms its own share of
a batch. There shares are large. Here a batch of 4 images on 4 devices would leave one image each:
other statistics, another student.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def share_statistics(module: M, device: torch.device) -> M:
    """Make every batch norm see the batches of all processes; alone, it stays as it is."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return module
    if device.type != "cpu":
        shared: M = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return shared
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = GlobalBatchNorm2d  # no state of its own: the weights stay in place
    return module


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """What `nn.SyncBatchNorm` does, on a CPU, which that refuses; shares are of equal size."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        mean = _mean_over_processes(x.float().mean(dim=(0, 2, 3)))
        centred = x.float() - mean[:, None, None]
        variance = _mean_over_processes(centred.square().mean(dim=(0, 2, 3)))
        self._track(mean, variance, x.numel() // len(mean) * dist.get_world_size())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


def _mean_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)
    return total / dist.get_world_size()


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient, as every process's loss depends on every share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient)


def _all_reduced(x: Tensor) -> Tensor:
    x = x.contiguous().clone()
    dist.all_reduce(x)
    return x
