"""3x3 convolutions with fewer multiplications (Lavin and Gray, arXiv 1509.09308)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BAND_TILES = 128
"""Tiles that are transformed at a time, so that they stay in the processor's cache."""

# Rows evaluate a polynomial at the points 0, 1, -1, (2, -2,) and infinity; see the paper's section
# 4.1 and its appendix. B transforms tiles of the input, G the kernel, A what is multiplied.
_B2 = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
_G2 = [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]
_A2 = [[1, 1, 1, 0], [0, 1, -1, -1]]
_B4 = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G4 = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A4 = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


class WinogradConv2d(nn.Module):
    """The same as a 3x3 convolution with stride 1 and padding 1, on channels-last maps.

    In fp32 by F(4x4, 3x3): 2.25 multiplications an output in place of 9, and a relative error of
    2e-6. In bf16 by F(2x2, 3x3): 4 in place of 9, as the larger tile would cost ten times the
    rounding error. Weights take 4 or 1.8 times the memory.
    """

    kernel: Tensor  # (n * n, in, out)
    into: Tensor  # (n * n, n * n), of an input tile to what is multiplied
    back: Tensor  # (m * m, n * n), of the product to an output tile
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        dtype = conv.weight.dtype
        self.tile, rows = (4, (_B4, _G4, _A4)) if dtype == torch.float32 else (2, (_B2, _G2, _A2))
        b, g, a = (torch.tensor(x, dtype=torch.float64) for x in rows)
        kernel = torch.einsum("ar,kcrs,bs->abck", g, conv.weight.detach().cpu().double(), g)
        tensors = {
            "kernel": kernel.flatten(0, 1),
            "into": torch.kron(b, b),
            "back": torch.kron(a, a),
        }
        for name, tensor in tensors.items():
            value = tensor.to(conv.weight.device, dtype).contiguous()
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("bias", conv.bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        m, (B, _, H, W) = self.tile, x.shape
        high, wide = -(-H // m), -(-W // m)  # tiles
        # Zeros around, and up to whole tiles.
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, wide * m - W + 1, 1, high * m - H + 1))
        out = x.new_empty(B, high, m, wide, m, self.kernel.shape[2])
        step = max(1, BAND_TILES // (B * wide))
        for top in range(0, high, step):
            bottom = min(top + step, high)
            self._band(x[:, top * m : bottom * m + 2], out[:, top:bottom])
        image = out.view(B, high * m, wide * m, -1)[:, :H, :W]
        return image.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def _band(self, x: Tensor, out: Tensor) -> None:
        """Rows of tiles: x is (B, t * m + 2, ..., C), out is (B, t, m, wide, m, K)."""
        m, n = self.tile, self.tile + 2
        tiles = x.unfold(1, n, m).unfold(2, n, m)  # (B, t, wide, C, n, n)
        B, t, wide, C = tiles.shape[:4]
        rows = tiles.permute(4, 5, 0, 1, 2, 3).reshape(n * n, -1)
        product = torch.bmm((self.into @ rows).view(n * n, -1, C), self.kernel)
        if self.bias is not None:
            # The point (1, 1) of the grid counts fully in each output of its tile.
            product[n + 1] += self.bias
        result = (self.back @ product.view(n * n, -1)).view(m, m, B, t, wide, -1)
        out.copy_(result.permute(2, 3, 0, 4, 1, 5))
