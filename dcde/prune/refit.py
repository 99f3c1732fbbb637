"""Refit one convolution, with the norm behind it, to wanted outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcde.model.blocks import ConvLayer, RMSNorm2d

POSITIONS = 40_000
"""Positions of the feature maps, over all images, that a regression uses."""
RIDGE = 1e-3
"""Pull of a convolution towards its old weights, see `Ridge`."""
RIDGE_BEFORE_RMS_NORM = 1e-1
"""The same before an RMS norm, where the fit is one linear step of a nonlinear problem."""


class Ridge:
    """Ridge regression y = weight x + bias on rows that are added piece by piece.

    The weight minimizes mean |y - weight x - bias|^2 + ridge mean(x^2) |weight|^2, with mean(x^2)
    over rows and entries; with a bias, x is measured from the mean of the rows. The weight is
    unique even with fewer rows than unknowns.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, device: torch.device) -> None:
        # Sums over many rows, and a matrix whose eigenvalues span many orders: in double precision.
        self.bias, self.count = bias, 0
        self.xx = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.xy = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)
        self.x = torch.zeros(inputs, dtype=torch.float64, device=device)
        self.y = torch.zeros(outputs, dtype=torch.float64, device=device)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add rows: (N, inputs) and (N, outputs)."""
        self.count += len(x)
        self.xx += x.T @ x
        self.xy += x.T @ y
        if self.bias:
            self.x += x.sum(dim=0, dtype=torch.float64)
            self.y += y.sum(dim=0, dtype=torch.float64)

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Return the weight (outputs, inputs) and the bias (outputs,), zero if none is fitted.

        This consumes the sums, because there may be no memory for a copy of them.
        """
        x, y = self.x / self.count, self.y / self.count
        xx = self.xx.div_(self.count).addr_(x, x, alpha=-1)
        xy = self.xy.div_(self.count).addr_(x, y, alpha=-1)
        pull = ridge * xx.diagonal().mean()
        xx.diagonal().add_(pull.clamp(min=torch.finfo(torch.float32).tiny))
        weight = torch.cholesky_solve(xy, torch.linalg.cholesky(xx)).T
        return weight.float(), (y - weight @ x).float()


def refit(layer: ConvLayer, inputs: Sequence[Tensor], wanted: Sequence[Tensor], seed: int) -> None:
    """Change the layer in place so that its outputs come as near to `wanted` as possible.

    We solve for the update to its weights, so a layer that already fits stays as it is.

    Args:
        inputs: batches of (B, C_in, H, W).
        wanted: (B, C_out, H, W) for each batch.
        seed: of the positions that are drawn.
    """
    drawn = samples(layer.conv, inputs, wanted, seed, POSITIONS)
    if isinstance(layer.norm, RMSNorm2d):
        _step_before_rms_norm(layer.conv, layer.norm, drawn)
        return
    weight, bias = with_norm(layer)
    fit = Ridge(weight.shape[1], len(weight), bias=True, device=weight.device)
    for x, y in drawn:
        fit.add(x, y - F.linear(x, weight, bias))
    more, more_bias = fit.solve(RIDGE)
    _put(layer, weight + more, bias + more_bias, inputs)


def _step_before_rms_norm(
    conv: nn.Conv2d, norm: RMSNorm2d, drawn: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Take one linear step, as if the RMS at each position stayed the same."""
    weight = conv.weight.flatten(1)
    # A larger weight can't bring back a channel that the norm scales down to nothing.
    least = 0.1 * norm.weight.square().mean().sqrt()
    scale = norm.weight.abs().clamp(min=least).copysign(norm.weight)
    fit = Ridge(weight.shape[1], len(weight), bias=False, device=weight.device)
    for x, y in drawn:
        out = F.linear(x, weight)
        rms = (out.square().mean(dim=1, keepdim=True) + norm.eps).sqrt()
        fit.add(x / rms, (y - norm.weight * out / rms - norm.bias) / scale)
    conv.weight.copy_((weight + fit.solve(RIDGE_BEFORE_RMS_NORM)[0]).view_as(conv.weight))


def samples(
    conv: nn.Conv2d, inputs: Sequence[Tensor], wanted: Sequence[Tensor], seed: int, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw positions batch by batch; yield the convolution's inputs there and the wanted outputs.

    (N, C_in * kernel area), in the order of its weights, and (N, C_out).

    Args:
        count: positions over all images, at most.
    """
    generator = torch.Generator().manual_seed(seed)
    total = sum(len(x) for x in inputs)
    reach = conv.kernel_size[0] // 2
    for x, y in zip(inputs, wanted, strict=True):
        B, _, H, W = x.shape
        places = torch.randperm(B * H * W, generator=generator)[: count * B // total]
        places = places.to(x.device)
        image, row, column = places // (H * W), places // W % H, places % W
        padded = F.pad(x, (reach,) * 4)
        offsets = range(2 * reach + 1)
        reads = [padded[image, :, row + i, column + j] for i in offsets for j in offsets]
        yield torch.stack(reads, dim=2).flatten(1), y[image, :, row, column]


def with_norm(layer: ConvLayer) -> tuple[Tensor, Tensor]:
    """Return weight (C_out, C_in * kernel area) and bias of the convolution and its batch norm."""
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
    """Let the layer compute weight x + bias in evaluation mode.

    A batch norm gets the statistics of `inputs`, so that training mode computes the same on these;
    the convolution before it keeps the norm of each output's weights.
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
