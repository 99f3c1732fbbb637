"""The building blocks of DC-AE, with the key names of efficientvit's published checkpoints.

Shapes: B batch, C channels, H and W height and width of the feature map.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import is_autocast_available

from dcde.model.recompute import recomputed
from dcde.model.spec import HEAD_DIM, ActType, BlockType, NormType

ATTENTION_EPS = 2**-24
"""Least denominator of attention, which is 0 where all keys are negative: the least positive number
of fp16. Adding efficientvit's 1e-15 does the same, but ONNX's optimizer removes what adds less than
1e-8, and in fp16 it is 0."""


class RMSNorm2d(nn.Module):
    """RMS norm over the channels of (B, C, H, W), with weight and bias ("trms2d")."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        # Only the (B, 1, H, W) map of the mean square is in fp32: no full-size copy is needed.
        mean_square = x.float().square().mean(dim=1, keepdim=True)
        x = x * torch.rsqrt(mean_square + self.eps).to(x.dtype)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return torch.addcmul(bias[:, None, None], x, weight[:, None, None])


def build_norm(kind: NormType | None, channels: int) -> nn.Module | None:
    if kind is None:
        return None
    return nn.BatchNorm2d(channels) if kind == "bn2d" else RMSNorm2d(channels)


def build_act(kind: ActType | None) -> nn.Module | None:
    if kind is None:
        return None
    return nn.ReLU() if kind == "relu" else nn.SiLU()


class ConvLayer(nn.Module):
    """Convolution with "same" padding, then an optional norm, then an optional activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        norm: NormType | None = None,
        act: ActType | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=bias,
        )
        self.norm = build_norm(norm, out_channels)
        self.act = build_act(act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)


class Residual(nn.Module):
    """`main(x) + shortcut(x)`; the shortcut has no parameters, None is the identity."""

    def __init__(self, main: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.main = main
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + (x if self.shortcut is None else self.shortcut(x))


class OpSequential(nn.Module):
    """A sequence stored as `op_list`, as the published checkpoints name it."""

    def __init__(self, ops: list[nn.Module]) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(ops)
        self.recompute = False
        """Recompute each operation in the backward pass, to save memory."""

    def forward(self, x: Tensor) -> Tensor:
        for op in self.op_list:
            x = recomputed(op, x) if self.recompute else op(x)
        return x


def recompute_stages(stages: Iterable[nn.Module], on: bool) -> None:
    """Turn recomputation in the backward pass on or off for these stages."""
    for stage in stages:
        assert isinstance(stage, OpSequential)
        stage.recompute = on


class ResBlock(nn.Module):
    """The branch of an R block: conv1 with bias and activation, conv2 without bias, norm."""

    def __init__(self, channels: int, inner: int, norm: NormType, act: ActType) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, inner, act=act)
        self.conv2 = ConvLayer(inner, channels, bias=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Let operations run in the precision of their inputs, on the device of `x`."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext()


def _attention(qkv: Tensor) -> Tensor:
    """Return the attention of each head of (B, heads * 3 * HEAD_DIM, H, W), in fp32."""
    B, _, H, W = qkv.shape
    # Sums over H*W positions overflow half precision.
    with without_autocast(qkv):
        heads = qkv.float().reshape(B, -1, 3 * HEAD_DIM, H * W)
        q, k, v = heads.split(HEAD_DIM, dim=2)  # each (B, heads, HEAD_DIM, H*W)
        q, k = F.relu(q), F.relu(k)
        v = F.pad(v, (0, 0, 0, 1), value=1.0)  # the row of ones sums up the denominator
        out = (v @ k.transpose(-1, -2)) @ q  # (B, heads, HEAD_DIM + 1, H*W)
        out = out[:, :, :-1] / out[:, :, -1:].clamp_min(ATTENTION_EPS)
    return out.reshape(B, -1, H, W)


_eager_attention = torch.compiler.disable(_attention)


def _attend(qkv: Tensor) -> Tensor:
    # Compiled under a CPU's autocast, its gradients are not finite where the CPU has AMX.
    return (_eager_attention if torch.is_autocast_enabled("cpu") else _attention)(qkv)


class LiteMLA(nn.Module):
    """ReLU linear attention (Cai et al., EfficientViT, arXiv 2205.14756).

    For each head, out = v relu(k)^T relu(q) / max(sum(relu(k))^T relu(q), eps), over all H*W
    positions. With `multiscale`, a second set of heads sees qkv through a 5x5 depthwise and a
    grouped 1x1 convolution. The published code turns the products around for maps of at most
    HEAD_DIM positions, which is the same up to rounding.
    """

    def __init__(self, channels: int, norm: NormType, *, multiscale: bool) -> None:
        super().__init__()
        heads = channels // HEAD_DIM
        self.qkv = ConvLayer(channels, 3 * channels, 1, bias=False)
        qkv = 3 * channels
        self.aggreg = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(qkv, qkv, 5, padding=2, groups=qkv, bias=False),
                    nn.Conv2d(qkv, qkv, 1, groups=3 * heads, bias=False),
                )
            ]
            if multiscale
            else []
        )
        scales = 2 if multiscale else 1
        self.proj = ConvLayer(scales * channels, channels, 1, bias=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, *(op(qkv) for op in self.aggreg)], dim=1)
        return self.proj(_attend(qkv).to(qkv.dtype))


class GLUMBConv(nn.Module):
    """Gated mobile convolution: 1x1 expand, depthwise 3x3, gate by silu, 1x1 project, norm."""

    def __init__(self, channels: int, hidden: int, norm: NormType) -> None:
        super().__init__()
        self.inverted_conv = ConvLayer(channels, 2 * hidden, 1, act="silu")
        self.depth_conv = ConvLayer(2 * hidden, 2 * hidden, groups=2 * hidden)
        self.point_conv = ConvLayer(hidden, channels, 1, bias=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.depth_conv(self.inverted_conv(x)).chunk(2, dim=1)
        return self.point_conv(x * F.silu(gate))


class EfficientViTBlock(nn.Module):
    """An E or S block: attention plus identity, then the gated convolution plus identity."""

    def __init__(self, channels: int, hidden: int, norm: NormType, *, multiscale: bool) -> None:
        super().__init__()
        self.context_module = Residual(LiteMLA(channels, norm, multiscale=multiscale))
        self.local_module = Residual(GLUMBConv(channels, hidden, norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.local_module(self.context_module(x))


def build_block(
    kind: BlockType, channels: int, inner: int, norm: NormType, act: ActType
) -> nn.Module:
    if kind == "R":
        return Residual(ResBlock(channels, inner, norm, act))
    # Attention blocks always have RMS norms, whatever the stage's norm.
    return EfficientViTBlock(channels, inner, "trms2d", multiscale=kind == "S")


class ChannelAverage(nn.Module):
    """Shortcut down: pixel-unshuffle by `factor`, then average groups of channels."""

    def __init__(self, out_channels: int, factor: int) -> None:
        super().__init__()
        self.out_channels, self.factor = out_channels, factor

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, self.factor)
        return x.unflatten(1, (self.out_channels, -1)).mean(dim=2)


class ChannelDuplicate(nn.Module):
    """Shortcut up: repeat channels, then pixel-shuffle by `factor`."""

    def __init__(self, in_channels: int, out_channels: int, factor: int) -> None:
        super().__init__()
        self.repeats, self.factor = out_channels * factor**2 // in_channels, factor

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x.repeat_interleave(self.repeats, dim=1), self.factor)


class ConvPixelUnshuffle(nn.Module):
    """Downsample by 2: convolve to a quarter of the channels, then pixel-unshuffle."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvLayer(in_channels, out_channels // 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(self.conv(x), 2)


class ConvPixelShuffle(nn.Module):
    """Upsample by 2: convolve to four times the channels, then pixel-shuffle."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvLayer(in_channels, 4 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class InterpolateConv(nn.Module):
    """Upsample by 2: nearest interpolation, then a convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvLayer(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


@torch.no_grad()
def as_pixel_shuffle(up: InterpolateConv) -> ConvPixelShuffle:
    """Return the same upsampling as a convolution at the low resolution, with as many MACs.

    An output at (2i + dy) sees the rows (2i + dy - 1 ... 2i + dy + 1) of the upsampled map, which
    are rows (i - 1, i, i) of the map for dy = 0 and (i, i, i + 1) for dy = 1.
    """
    conv = up.conv.conv
    rows = torch.tensor([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]]).to(
        conv.weight
    )  # (dy, row of the map, row of the kernel)
    shuffled = ConvPixelShuffle(conv.in_channels, conv.out_channels).to(conv.weight)
    low = shuffled.conv.conv
    assert conv.bias is not None and low.bias is not None
    weight = torch.einsum("dij,ocjk,elk->odecil", rows, conv.weight, rows)
    low.weight.copy_(weight.flatten(0, 2))
    low.bias.copy_(conv.bias.repeat_interleave(4))
    return shuffled


def build_downsample(
    kind: Literal["ConvPixelUnshuffle", "Conv"], in_channels: int, out_channels: int
) -> nn.Module:
    if kind == "Conv":
        return ConvLayer(in_channels, out_channels, stride=2)
    return ConvPixelUnshuffle(in_channels, out_channels)


def build_upsample(
    kind: Literal["ConvPixelShuffle", "InterpolateConv"], in_channels: int, out_channels: int
) -> nn.Module:
    if kind == "InterpolateConv":
        return InterpolateConv(in_channels, out_channels)
    return ConvPixelShuffle(in_channels, out_channels)
