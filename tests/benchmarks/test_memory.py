"""Memory of the full-size distillation, counted on tensors without values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.memory import LiveBytes, full_size_recipe, peak_gib
from dcde.metrics.lpips import LPIPS_ALEX
from tests.helpers.tiny import ROOT


def test_bytes_are_counted_while_they_live() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a.view(10, 100)  # shares its storage
        c = a + 1
        assert live.now == 8000
        del a, c
        assert live.now == 4000  # the view keeps it
        del b
        assert (live.now, live.peak) == (0, 8000)


def test_w4_v3_at_512_px_fits_24_gb(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer's own step, with 8 GB to spare for what the count leaves out.

    Recomputing blocks takes less.
    """
    monkeypatch.chdir(ROOT)
    recipe = full_size_recipe()

    def peak(checkpoint: bool) -> float:
        lpips = networks / LPIPS_ALEX
        return peak_gib(recipe, lpips, batch_size=4, bf16=False, checkpoint=checkpoint)

    assert 3 < peak(True) < 0.7 * peak(False) < peak(False) < 16
