"""Ridge regression, fed in pieces."""

from __future__ import annotations

import torch
from torch import Tensor


class Ridge:
    """Fits y = weight x + bias on rows that are added piece by piece.

    The weight minimizes mean |y - weight x - bias|^2 + ridge mean(x^2) |weight|^2. Here mean(x^2)
    is over rows and entries; where there is a bias, x is measured from the mean of the rows. So the
    weight is unique for any count of rows, also for fewer than unknowns.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, device: torch.device) -> None:
        # Sums over many rows, and a matrix whose eigenvalues span many orders: in double precision.
        self.bias, self.count = bias, 0
        self.xx = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.xy = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)
        self.x = torch.zeros(inputs, dtype=torch.float64, device=device)
        self.y = torch.zeros(outputs, dtype=torch.float64, device=device)

    def add(self, x: Tensor, y: Tensor) -> None:
        """More rows: (N, inputs) and (N, outputs)."""
        self.count += len(x)
        self.xx += x.T @ x
        self.xy += x.T @ y
        if self.bias:
            self.x += x.sum(dim=0, dtype=torch.float64)
            self.y += y.sum(dim=0, dtype=torch.float64)

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """The weight (outputs, inputs) and the bias (outputs,), zero where none is fitted.

        It uses up the sums, as there may be no memory for a copy of them.
        """
        x, y = self.x / self.count, self.y / self.count
        xx = self.xx.div_(self.count).addr_(x, x, alpha=-1)
        xy = self.xy.div_(self.count).addr_(x, y, alpha=-1)
        pull = ridge * xx.diagonal().mean()
        xx.diagonal().add_(pull.clamp(min=torch.finfo(torch.float32).tiny))
        weight = torch.cholesky_solve(xy, torch.linalg.cholesky(xx)).T
        return weight.float(), (y - weight @ x).float()
