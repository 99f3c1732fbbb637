"""Costs against formulas by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dcde.model import DCAE
from dcde.profiling import count_macs, decode_costs, reductions


def test_macs_by_hand() -> None:
    conv = nn.Conv2d(8, 16, 3, padding=1)
    assert count_macs(conv, torch.zeros(1, 8, 10, 12)) == 10 * 12 * 8 * 16 * 9
    grouped = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    assert count_macs(grouped, torch.zeros(1, 8, 10, 12)) == 10 * 12 * 8 * 25


def test_reductions_in_percent() -> None:
    full = {"encoder_params": 10, "decoder_params": 90, "decoder_macs": 80, "total_macs": 100}
    less = {"encoder_params": 10, "decoder_params": 40, "decoder_macs": 20, "total_macs": 40}
    assert reductions(less, full) == pytest.approx(
        {
            "decoder_params_saved_percent": 100 * 50 / 90,
            "decoder_macs_saved_percent": 75,
            "total_params_saved_percent": 50,
            "total_macs_saved_percent": 60,
        }
    )


def test_decode_costs_are_positive_and_ordered(tiny_model: DCAE) -> None:
    costs = decode_costs(
        {"teacher": tiny_model}, 64, warmup_runs=1, runs=5, device=torch.device("cpu")
    )["teacher"]
    assert 0 < costs["latency_ms"] <= costs["latency_p90_ms"]  # type: ignore[operator]
