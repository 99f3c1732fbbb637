"""Features of a narrower student beside its teacher's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dcde.data.folder import Photo
from dcde.distill.projections import fit_projections
from tests.helpers.distill_run import curve, models, run_distill, same_weights


def test_projections_start_as_the_best_linear_map() -> None:
    teacher, student = models(narrow=True)
    latents = torch.randn(8, 4, 4, 4)
    stages = ["stage1", "stage2"]  # the third is as wide as the teacher's
    found = fit_projections(student.decoder, teacher.eval().decoder, latents.split(3), stages)
    assert list(found) == stages
    with torch.no_grad():
        ours, theirs = student.decode(latents, stages)[1], teacher.decode(latents, stages)[1]
    for stage, projection in found.items():
        x, y = (f[stage].movedim(1, -1).flatten(0, -2).numpy() for f in (ours, theirs))
        expected = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        error = theirs[stage] - projection(ours[stage])
        assert error.square().mean().item() == pytest.approx(np.square(expected).mean(), rel=1e-2)
        assert error.square().mean() < 0.9 * theirs[stage].square().mean()


def test_a_student_comes_to_its_teachers_stream(
    photo_list: tuple[Photo, ...], tmp_path: Path
) -> None:
    """With features narrower than the teacher's, and an encoder that trains."""
    long = {"epochs": 3, "samples_per_epoch": 80, "loss": {"stream": 1.0}, "dynamic_loss": False}
    for changes in ({"narrow": True}, {"freeze_encoder": False}, {"narrow": True, "ema": 0}):
        folder = tmp_path / str(changes)
        _, student = run_distill(photo_list, folder, **long | changes)
        losses = list(curve(folder, "loss/stream").values())
        assert sum(losses[-10:]) < 0.8 * sum(losses[:10]), changes
        assert not same_weights(student, models(narrow=changes.get("narrow", False))[1])
