"""PatchGAN, the discriminator of pix2pix (Isola et al., arXiv 1611.07004), and its losses."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

GanLoss = Literal["bce", "hinge"]


class PatchGAN(nn.Sequential):
    """(B, 3, H, W) in [-1, 1] to a map of logits, one for each overlapping 70x70 patch.

    4x4 convolutions: `layers` of stride 2, then two of stride 1; batch norm on all but the first
    and the last, leaky ReLU 0.2. Weights start normal with deviation 0.02.
    """

    def __init__(self, channels: int = 64, layers: int = 3) -> None:
        ops: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = channels
        for i in range(1, layers + 1):
            before, width = width, channels * min(2**i, 8)
            ops.append(nn.Conv2d(before, width, 4, 2 if i < layers else 1, 1, bias=False))
            ops += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
        ops.append(nn.Conv2d(width, 1, 4, 1, 1))
        super().__init__(*ops)
        for module in self:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
                nn.init.zeros_(module.bias)


def generator_loss(fake: Tensor, kind: GanLoss) -> Tensor:
    """Return the generator's loss, given the discriminator's logits for its images.

    bce: -log sigmoid(D); hinge: -D; each averaged over patches.
    """
    return F.softplus(-fake).mean() if kind == "bce" else -fake.mean()


def discriminator_loss(real: Tensor, fake: Tensor, kind: GanLoss) -> Tensor:
    """Return the discriminator's loss, halved as in pix2pix.

    bce: -log sigmoid(D(real)) - log(1 - sigmoid(D(fake)));
    hinge: max(0, 1 - D(real)) + max(0, 1 + D(fake)).
    """
    if kind == "bce":
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
