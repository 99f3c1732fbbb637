"""Fold batch norms into the convolutions before them: less work, the same function."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dcde.model.blocks import ConvLayer

M = TypeVar("M", bound=nn.Module)


def fold_norms(module: M) -> M:
    """Return a copy in fp32 in which each `ConvLayer` with a batch norm is one convolution.

    With running statistics mean and var: weight * gamma / sqrt(var + eps), and bias
    (bias - mean) * gamma / sqrt(var + eps) + beta. RMS norms depend on the input and stay.

    Raises:
        ValueError: in training mode, where each batch has its own statistics.
    """
    if module.training:
        raise ValueError("fold_norms: found a module in training mode, expected eval()")
    folded = copy.deepcopy(module).float()
    for layer in folded.modules():
        if isinstance(layer, ConvLayer) and isinstance(layer.norm, nn.BatchNorm2d):
            layer.conv, layer.norm = fuse_conv_bn_eval(layer.conv, layer.norm), None
    return folded
