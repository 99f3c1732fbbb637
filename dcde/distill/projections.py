"""Comparing a student's residual stream with the teacher's where it is narrower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dcde.model.dcae import DCAE, Decoder, Tap

RIDGE = 1e-3
"""Of the first fit, relative to the mean square of the student's features."""


class Widened(nn.Module):
    """A student whose features at some taps go through a 1x1 convolution, to the teacher's width.

    The convolutions are trained along with the student, and thrown away after it.
    """

    def __init__(self, student: Decoder | DCAE, projections: Mapping[str, nn.Conv2d]) -> None:
        super().__init__()
        self.student, self.projections = student, nn.ModuleDict(projections)

    def forward(self, x: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[Tap, Tensor]]:
        image, features = self.student(x, taps)
        return image, features | {tap: p(features[tap]) for tap, p in self.projections.items()}


@torch.no_grad()
def fit_projections(
    student: Decoder, teacher: Decoder, latents: Tensor, stages: Sequence[str]
) -> dict[str, nn.Conv2d]:
    """A projection for each of the stages whose stream is narrower than the teacher's.

    They start as the ridge regression from the student's stream to the teacher's.

    Args:
        latents: to fit on, (B, latent_channels, h, w), on the device of both.
        stages: taps "stage<i>".
    """
    projections = {}
    student.eval()
    ours, theirs = student(latents, stages)[1], teacher(latents, stages)[1]
    for stage in stages:
        x, y = (features[stage].movedim(1, -1).flatten(0, -2) for features in (ours, theirs))
        if x.shape[1] == y.shape[1]:
            continue
        x, y = x.double(), y.double()
        ridge = RIDGE * x.square().mean() * len(x)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        weight = torch.linalg.solve(x.T @ x + ridge * eye, x.T @ y).T
        projection = nn.Conv2d(x.shape[1], y.shape[1], 1, bias=False, device=x.device)
        projection.weight.copy_(weight[:, :, None, None])
        projections[stage] = projection.requires_grad_(True)
    return projections
