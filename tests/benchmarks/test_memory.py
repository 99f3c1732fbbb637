"""Memory of the full-size distillation, counted on tensors without values."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.memory import LiveBytes, peak_gib
from dcde.metrics.lpips import LPIPS_ALEX


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


def test_w4_v3_at_512_px_fits_24_gb(networks: Path) -> None:
    """With 8 GB to spare for what the count leaves out; recomputing blocks takes less."""

    def peak(checkpoint: bool) -> float:
        return peak_gib(networks / LPIPS_ALEX, batch_size=4, bf16=False, checkpoint=checkpoint)

    assert 3 < peak(True) < 0.7 * peak(False) < peak(False) < 16
