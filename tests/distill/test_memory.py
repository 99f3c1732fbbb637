"""Memory of a distillation, counted on tensors without values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.memory import step_gib
from dcde.data.folder import Photo
from dcde.distill.memory import LiveBytes, step_bytes
from tests.helpers.distill_run import models, recipe, run_distill
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


def test_w4_v3_at_512_px_fits_24_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer's own step, with 8 GB to spare for what the count leaves out.

    Recomputing blocks takes less.
    """
    monkeypatch.chdir(ROOT)
    kept, recomputed = (step_gib("fp32", checkpoint, batch_size=4) for checkpoint in (False, True))
    assert 3 < recomputed < 0.7 * kept < kept < 17


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze_encoder": False},
        {"precision": "bf16", "checkpoint_activations": True, "batch_size": 8},
        {"loss": {"image": 1.0}, "ema": 0.0},
        {"narrow": True, "loss": {"stream": 1.0, "image": 1.0}},
    ],
)
def test_the_count_is_that_of_a_real_run(
    photo_list: tuple[Photo, ...], tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Of which the storages of real tensors are added up in the same way."""
    settings = {"samples_per_epoch": 16, "epochs": 2, **changes}
    narrow = settings.pop("narrow", False)
    teacher, student = models(narrow=narrow)
    counted = step_bytes(student.config, teacher.config, recipe(**settings))
    live = LiveBytes()
    for tensor in (*teacher.state_dict().values(), *student.state_dict().values()):
        live.add(tensor)
    with live:
        run_distill(photo_list, tmp_path, pair=(teacher, student), **settings)
    assert counted == pytest.approx(live.peak, rel=0.03)
