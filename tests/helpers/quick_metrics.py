"""Metrics that are quick where their value does not matter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcde.data.crops import Crop
from dcde.evaluate.evaluate import Evaluation, evaluate
from dcde.metrics.frechet import FrechetNetwork


class MeanDistance(nn.Module):
    """Stands for LPIPS where its value does not matter: quick, and same in its interface."""

    def forward(self, image: Tensor, original: Tensor) -> Tensor:
        return (image - original).abs().mean(dim=(1, 2, 3), keepdim=True)


def pooled(name: str = "fd") -> FrechetNetwork:
    """A network of 12 features."""
    module = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return FrechetNetwork(name, module, 12)


CPU = torch.device("cpu")


def measure(
    models: dict[str, Any],
    crops: Sequence[Crop],
    folder: Path,
    *,
    lpips_metric: nn.Module | None = None,
    networks: Sequence[FrechetNetwork] = (),
    batch_size: int = 4,
) -> Evaluation | None:
    return evaluate(
        models,
        crops,
        lpips_metric=lpips_metric or MeanDistance(),
        networks=networks,
        batch_size=batch_size,
        workers=0,
        device=CPU,
        state_dir=folder / "state",
    )
