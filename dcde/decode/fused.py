"""The optimized decoder's operations: fused, in place, channels-last."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcde.model.blocks import (
    ATTENTION_EPS,
    ChannelDuplicate,
    ConvLayer,
    ConvPixelShuffle,
    GLUMBConv,
    InterpolateConv,
    LiteMLA,
    ResBlock,
    Residual,
    RMSNorm2d,
    as_pixel_shuffle,
    without_autocast,
)
from dcde.model.spec import HEAD_DIM

M = TypeVar("M", bound=nn.Module)


class FusedOp(nn.Module):
    """A step on channels-last maps."""

    margin: int | None = 0
    """Positions around an output whose inputs it depends on; None: all positions."""
    scale = 1
    """Outputs for each input along a side."""


def _with_shortcut(conv: nn.Conv2d, repeats: int) -> nn.Conv2d:
    """Add `x.repeat_interleave(repeats)` to the convolution."""
    outputs = torch.arange(conv.out_channels, device=conv.weight.device)
    with torch.no_grad():
        conv.weight[outputs, outputs // repeats, 1, 1] += 1
    return conv


def _nhwc(x: Tensor) -> Tensor:
    """Permute (B, C, H, W) to (B, H, W, C), without a copy for channels-last."""
    return x.permute(0, 2, 3, 1)


def _nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _act(act: nn.Module | None) -> nn.Module:
    """Return the activation in place."""
    if act is None:
        return nn.Identity()
    return nn.ReLU(inplace=True) if isinstance(act, nn.ReLU) else nn.SiLU(inplace=True)


class Pointwise(nn.Module):
    """A 1x1 convolution of (B, H, W, C).

    CPUs use oneDNN, other devices a matrix product: on an AMD EPYC, the BLAS behind `F.linear`
    takes twice as long as oneDNN in fp32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu:
            return _nhwc(F.conv2d(_nchw(x), self.weight, self.bias))
        return F.linear(x, self.weight.flatten(1), self.bias)


class RMSNorm(nn.Module):
    """`RMSNorm2d` on (B, H, W, C)."""

    def __init__(self, norm: RMSNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)  # another one under autocast
        return F.rms_norm(x, weight.shape, weight, self.eps).add_(self.bias)


class FusedInput(FusedOp):
    """`project_in`; the latent may be in any precision and memory format."""

    margin = 1

    def __init__(self, project_in: Residual) -> None:
        super().__init__()
        conv, shortcut = project_in.main.conv, project_in.shortcut
        assert isinstance(conv, nn.Conv2d) and isinstance(shortcut, ChannelDuplicate)
        self.conv = _with_shortcut(conv, shortcut.repeats)

    def forward(self, latent: Tensor) -> Tensor:
        dtype = next(self.conv.parameters()).dtype
        return self.conv(latent.to(dtype, memory_format=torch.channels_last))


class FusedResBlock(FusedOp):
    """An R block with its identity."""

    margin = 2

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.conv1 = block.conv1.conv
        self.act = _act(block.conv1.act)
        self.conv2 = block.conv2.conv
        norm = block.conv2.norm
        self.norm = RMSNorm(norm) if isinstance(norm, RMSNorm2d) else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.act(self.conv1(x)))
        if self.norm is not None:
            y = _nchw(self.norm(_nhwc(y)))
        return y.add_(x)


class FusedAttention(FusedOp):
    """`LiteMLA` with its identity.

    It has two parts, for maps in tiles: `gather` sums keys and values over positions, `read`
    applies each position's query to the sums.
    """

    margin = None

    def __init__(self, attention: LiteMLA) -> None:
        super().__init__()
        self.qkv = Pointwise(attention.qkv.conv)
        self.aggreg = attention.aggreg
        self.reach = 2 if len(attention.aggreg) else 0
        """Margin of `heads`: half of the 5x5 branch's kernel."""
        self.proj = Pointwise(attention.proj.conv)
        assert isinstance(attention.proj.norm, RMSNorm2d)
        self.norm = RMSNorm(attention.proj.norm)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.heads(x)
        return self.read(x, heads, self.gather(heads))

    def heads(self, x: Tensor) -> Tensor:
        """Return queries, keys and values (B, H, W, heads, 3, HEAD_DIM) of (B, C, H, W)."""
        qkv = self.qkv(_nhwc(x))
        if len(self.aggreg):
            qkv = torch.cat([qkv, *(_nhwc(op(_nchw(qkv))) for op in self.aggreg)], dim=3)
        heads = qkv.unflatten(3, (-1, 3, HEAD_DIM))
        heads[..., :2, :].relu_()
        return heads

    def gather(self, heads: Tensor) -> Tensor:
        """Sum keys times (values, 1) over positions: (B, heads, HEAD_DIM, HEAD_DIM + 1)."""
        with without_autocast(heads):
            k, v = (_positions(heads[..., i, :]) for i in (1, 2))
            return torch.cat([k.mT @ v, k.sum(dim=2)[..., None]], dim=3)

    def read(self, x: Tensor, heads: Tensor, gathered: Tensor) -> Tensor:
        """Return the block's output for the positions of `x`."""
        with without_autocast(heads):
            out = _positions(heads[..., 0, :]) @ gathered  # (B, heads, H*W, HEAD_DIM + 1)
            out = out[..., :-1] / out[..., -1:].clamp_min(ATTENTION_EPS)
        B, _, H, W = x.shape
        out = out.transpose(1, 2).reshape(B, H, W, -1)
        y = self.norm(self.proj(out.to(heads.dtype)))
        return _nchw(y).add_(x)


def _positions(x: Tensor) -> Tensor:
    """Flatten (B, H, W, heads, HEAD_DIM) to (B, heads, H*W, HEAD_DIM), fp16 to fp32.

    Sums over positions overflow fp16; bf16 has the range of fp32.
    """
    x = x.flatten(1, 2).transpose(1, 2)
    return x.float() if x.dtype == torch.float16 else x


class FusedGLU(FusedOp):
    """`GLUMBConv` with its identity."""

    margin = 1

    def __init__(self, glu: GLUMBConv) -> None:
        super().__init__()
        expand, depth, project = glu.inverted_conv, glu.depth_conv, glu.point_conv
        self.expand = Pointwise(expand.conv)
        self.depth = depth.conv
        self.project = Pointwise(project.conv)
        assert isinstance(project.norm, RMSNorm2d)
        self.norm = RMSNorm(project.norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.expand(_nhwc(x)), inplace=True)
        y, gate = _nhwc(self.depth(_nchw(y))).chunk(2, dim=3)
        y = y.mul_(F.silu(gate, inplace=True))
        return _nchw(self.norm(self.project(y))).add_(x)


class FusedUpsample(FusedOp):
    """Upsampling by 2 as a convolution at the input's resolution, with its shortcut inside.

    After nearest interpolation, neighbouring pixels are copies of each other, so a 3x3 kernel reads
    only 2x2 different ones, and its weights for equal pixels can be added up beforehand. This takes
    4/9 of the multiplications.
    """

    margin, scale = 1, 2

    def __init__(self, up: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        shuffle = as_pixel_shuffle(up) if isinstance(up, InterpolateConv) else up
        assert isinstance(shuffle, ConvPixelShuffle)
        conv = shuffle.conv.conv
        if isinstance(shortcut, ChannelDuplicate):
            conv = _with_shortcut(conv, shortcut.repeats)
        # Reorder pixel shuffle's channels (out, dy, dx) to (dy, dx, out): then whole pixels of the
        # convolution's output make up a row of the image.
        for parameter in conv.parameters():
            rows = parameter.data.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
            parameter.data = rows.contiguous()
        if isinstance(up, InterpolateConv):
            kernels = conv.weight.data.unflatten(0, (2, 2, -1))
            conv.weight.data = torch.cat(
                [kernels[dy, dx, :, :, dy : dy + 2, dx : dx + 2] for dy in (0, 1) for dx in (0, 1)]
            )
            conv.kernel_size = (2, 2)
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        B, _, H, W = x.shape
        y = _nhwc(self.conv(x)).unflatten(3, (2, 2, -1))
        if self.conv.kernel_size == (3, 3):
            image = y.transpose(2, 3)  # (B, H, dy, W, dx, out)
        else:  # y has a row and a column more; each of the four outputs is at an offset
            image = y.new_empty(B, H, 2, W, 2, y.shape[-1])
            for dy in (0, 1):
                for dx in (0, 1):
                    image[:, :, dy, :, dx] = y[:, dy : dy + H, dx : dx + W, dy, dx]
        return _nchw(image.reshape(B, 2 * H, 2 * W, -1))


class FusedNorm(FusedOp):
    """The norm and activation before the last convolution."""

    def __init__(self, norm: nn.Module, act: nn.Module) -> None:
        super().__init__()
        assert isinstance(norm, RMSNorm2d)
        self.norm, self.act = RMSNorm(norm), _act(act)

    def forward(self, x: Tensor) -> Tensor:
        return _nchw(self.act(self.norm(_nhwc(x))))


class FusedConv(FusedOp):
    """The last convolution, where stage 0 exists."""

    margin = 1

    def __init__(self, layer: ConvLayer) -> None:
        super().__init__()
        self.conv = layer.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
