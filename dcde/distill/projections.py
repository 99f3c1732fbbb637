"""Projections that compare a student's residual stream with the teacher's where it is narrower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dcde.model import DCAEConfig
from dcde.model.dcae import DCAE, Decoder, Tap
from dcde.params.pipeline import LossParams

RIDGE = 1e-3
"""Ridge of the first fit, relative to the mean square of the student's features."""


class Widened(nn.Module):
    """A student whose features at some taps pass a 1x1 convolution to the teacher's width.

    The convolutions train along with the student and are dropped afterwards.
    """

    def __init__(self, student: Decoder | DCAE, projections: Mapping[str, nn.Conv2d]) -> None:
        super().__init__()
        self.student, self.projections = student, nn.ModuleDict(projections)

    def forward(self, x: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[Tap, Tensor]]:
        image, features = self.student(x, taps)
        return image, features | {tap: p(features[tap]) for tap, p in self.projections.items()}


def narrow_taps(student: DCAEConfig, teacher: DCAEConfig, loss: LossParams) -> list[str]:
    """Return the taps "stage<i>" where the loss compares a stream narrower than the teacher's."""
    narrower = student.decoder.narrower_than(teacher.decoder) if loss.stream else []
    return [f"stage{i}" for i in narrower]


@torch.no_grad()
def fit_projections(
    student: Decoder, teacher: Decoder, batches: Iterable[Tensor], stages: Sequence[str]
) -> dict[str, nn.Conv2d]:
    """Fit a projection for each of these stages, from the student's stream to the teacher's.

    They start as ridge regressions. Sums are gathered an image at a time, because the streams of
    many would not fit into memory.

    Args:
        batches: latents to fit on, (B, latent_channels, h, w), on the device of both.
        stages: taps "stage<i>" whose stream is narrower than the teacher's.
    """
    student.eval()
    sums: dict[str, Tensor] = {}
    for latents in batches:
        ours, theirs = student(latents, stages)[1], teacher(latents, stages)[1]
        for stage in stages:
            for image, target in zip(ours[stage], theirs[stage], strict=True):
                x, y = image.flatten(1).double(), target.flatten(1).double()
                sums[stage] = sums.get(stage, 0) + x @ torch.cat([x, y]).T
    projections = {}
    for stage, products in sums.items():
        squares, products = products.split([len(products), products.shape[1] - len(products)], 1)
        ridge = RIDGE * squares.diagonal().mean() * torch.eye(len(squares)).to(squares)
        weight = torch.linalg.solve(squares + ridge, products).T
        theirs_wide, ours_wide = weight.shape
        projection = nn.Conv2d(ours_wide, theirs_wide, 1, bias=False, device=weight.device)
        projection.weight.copy_(weight[:, :, None, None])
        projections[stage] = projection.requires_grad_(True)
    return projections
