"""Winograd's form of a convolution against the convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dcde.winograd import BAND_TILES, WinogradConv2d

SIZES = [(1, 8, 8), (2, 7, 13), (1, 1, 1), (1, 2, 50), (3, 70, 66)]


def relative_error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return ((ours.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize(("batch", "height", "width"), SIZES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 8e-3)], ids=["fp32", "bf16"]
)
@torch.no_grad()
def test_equals_the_convolution(
    batch: int, height: int, width: int, bias: bool, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 40, 3, padding=1, bias=bias).to(dtype)
    x = torch.randn(batch, 24, height, width, dtype=dtype)
    ours = WinogradConv2d(conv)(x.to(memory_format=torch.channels_last))
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(ours, conv.double()(x.double())) < tolerance


def test_largest_size_takes_several_bands() -> None:
    batch, height, width = SIZES[-1]
    assert batch * height * width > 2 * 16 * BAND_TILES
