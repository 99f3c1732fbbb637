"""What a recipe trains of a student."""

from __future__ import annotations

import pytest

from dcde.distill.task import build_task
from tests.helpers.distill_run import models, recipe


@pytest.mark.parametrize(
    ("loss", "tap", "trains"),
    [
        ({"image": 1.0}, 3, True),
        ({"lpips": 1.0}, 3, True),
        ({"feature": 1.0}, 0, True),  # the image is what is compared
        ({"feature": 1.0}, 3, False),
        ({"stream": 1.0}, 0, False),
        ({"stream": 1.0}, 3, False),
    ],
)
def test_the_output_layer_trains_where_a_term_reaches_it(
    loss: dict[str, float], tap: int, trains: bool
) -> None:
    teacher, student = models()
    build_task(student, teacher.decoder, recipe(loss=loss, tap=tap, freeze_project_out=False), {})
    assert {p.requires_grad for p in student.decoder.project_out.parameters()} == {trains}
    assert all(p.requires_grad for p in student.decoder.stages.parameters())
    assert not any(p.requires_grad for p in student.encoder.parameters())
    build_task(student, teacher.decoder, recipe(loss=loss, tap=tap, freeze_project_out=True), {})
    assert not any(p.requires_grad for p in student.decoder.project_out.parameters())
