"""One convolution, with the norm behind it, fitted anew to outputs that are wanted of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcde.model.blocks import ConvLayer, RMSNorm2d
from dcde.prune.regression import Ridge

POSITIONS = 40_000
"""How many positions of the feature maps, over all images, a regression is made from."""
RIDGE = 1e-3
"""Pull of a convolution towards its weights as they were, see `dcde.prune.regression.Ridge`."""
RIDGE_BEFORE_RMS_NORM = 1e-1
"""The same before an RMS norm, where the fit is a linear step towards what is not linear."""


def refit(layer: ConvLayer, inputs: Sequence[Tensor], wanted: Sequence[Tensor], seed: int) -> None:
    """Change the layer in place so that what it puts out is as near to `wanted` as can be.

    What is solved for is the change: a layer that already does what is wanted stays as it is.

    Args:
        inputs: what it reads, batches of (B, C_in, H, W).
        wanted: (B, C_out, H, W) for each batch.
        seed: of the positions that are drawn.
    """
    samples = _samples(layer.conv, inputs, wanted, seed)
    if isinstance(layer.norm, RMSNorm2d):
        _step_before_rms_norm(layer.conv, layer.norm, samples)
        return
    weight, bias = _with_norm(layer)
    fit = Ridge(weight.shape[1], len(weight), bias=True, device=weight.device)
    for x, y in samples:
        fit.add(x, y - F.linear(x, weight, bias))
    more, more_bias = fit.solve(RIDGE)
    _put(layer, weight + more, bias + more_bias, inputs)


def _step_before_rms_norm(
    conv: nn.Conv2d, norm: RMSNorm2d, samples: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """One linear step, as if the RMS of each position stayed what it is."""
    weight = conv.weight.flatten(1)
    # A channel that the norm scales down to nothing can't be had by a larger weight.
    least = 0.1 * norm.weight.square().mean().sqrt()
    scale = norm.weight.abs().clamp(min=least).copysign(norm.weight)
    fit = Ridge(weight.shape[1], len(weight), bias=False, device=weight.device)
    for x, y in samples:
        out = F.linear(x, weight)
        rms = (out.square().mean(dim=1, keepdim=True) + norm.eps).sqrt()
        fit.add(x / rms, (y - norm.weight * out / rms - norm.bias) / scale)
    conv.weight.copy_((weight + fit.solve(RIDGE_BEFORE_RMS_NORM)[0]).view_as(conv.weight))


def _samples(
    conv: nn.Conv2d, inputs: Sequence[Tensor], wanted: Sequence[Tensor], seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Drawn positions, batch by batch: what the convolution reads there, and what is wanted.

    (N, C_in * kernel area), in the order of its weights, and (N, C_out).
    """
    generator = torch.Generator().manual_seed(seed)
    total = sum(len(x) for x in inputs)
    reach = conv.kernel_size[0] // 2
    for x, y in zip(inputs, wanted, strict=True):
        B, _, H, W = x.shape
        places = torch.randperm(B * H * W, generator=generator)[: POSITIONS * B // total]
        places = places.to(x.device)
        image, row, column = places // (H * W), places // W % H, places % W
        padded = F.pad(x, (reach,) * 4)
        offsets = range(2 * reach + 1)
        reads = [padded[image, :, row + i, column + j] for i in offsets for j in offsets]
        yield torch.stack(reads, dim=2).flatten(1), y[image, :, row, column]


def _with_norm(layer: ConvLayer) -> tuple[Tensor, Tensor]:
    """Weight (C_out, C_in * kernel area) and bias of the convolution and its batch norm in one."""
    conv, norm = layer.conv, layer.norm
    weight = conv.weight.flatten(1)
    bias = torch.zeros_like(weight[:, 0]) if conv.bias is None else conv.bias
    if norm is None:
        return weight, bias
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias


def _put(layer: ConvLayer, weight: Tensor, bias: Tensor, inputs: Sequence[Tensor]) -> None:
    """Let the layer, in evaluation mode, compute weight x + bias.

    A batch norm gets the statistics of `inputs`, so that training mode does the same on these; the
    convolution before it keeps the length of each output's weights, which the norm undoes.
    """
    conv, norm = layer.conv, layer.norm
    if norm is None:
        conv.weight.copy_(weight.view_as(conv.weight))
        assert conv.bias is not None
        conv.bias.copy_(bias)
        return
    assert isinstance(norm, nn.BatchNorm2d) and conv.bias is None
    assert norm.running_mean is not None and norm.running_var is not None
    longer = conv.weight.flatten(1).norm(dim=1) / weight.norm(dim=1)
    longer = longer.where(longer.isfinite() & (longer > 0), torch.ones_like(longer))
    conv.weight.copy_((weight * longer[:, None]).view_as(conv.weight))
    outputs = torch.cat([conv(x).movedim(1, 0).flatten(1) for x in inputs], dim=1)
    variance, mean = torch.var_mean(outputs, dim=1, correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt() / longer)
    norm.bias.copy_(bias + mean / longer)
