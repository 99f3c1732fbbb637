"""Blocks whose inside is computed again in the backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dcde.model.recompute import recomputed


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_gradients_and_statistics_are_those_of_the_plain_block(norm: type[nn.Module]) -> None:
    """`SyncBatchNorm` is what several GPUs train with; alone it runs on a CPU too."""
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU()).train()
    again, x = copy.deepcopy(plain), torch.randn(2, 3, 8, 8, requires_grad=True)
    for _ in range(2):
        plain(x).square().sum().backward()
        expected, x.grad = x.grad, None
        recomputed(again, x).square().sum().backward()
        assert expected is not None and x.grad is not None
        torch.testing.assert_close(x.grad, expected)
        x.grad = None
    for (name, ours), theirs in zip(again.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    for (name, ours), theirs in zip(again.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
