"""What the parameters train of a student, and on which crops."""

import pytest

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.distill.plan import draw_crops, plan_run
from dcde.distill.task import freeze
from tests.helpers.distill_run import distill_params, models, recipe


@pytest.mark.parametrize(
    ("loss", "tap", "trains"),
    [
        ({"image": 1.0}, "act", True),
        ({"lpips": 1.0}, "act", True),
        ({"feature": 1.0}, "image", True),  # the feature is the image
        ({"feature": 1.0}, "act", False),
        ({"stream": 1.0}, "image", False),
        ({"stream": 1.0}, "act", False),
    ],
)
def test_the_output_layer_trains_where_a_term_reaches_it(
    loss: dict[str, float], tap: str, trains: bool
) -> None:
    student = models()[1]
    freeze(student, recipe(loss=loss, tap=tap, freeze_project_out=False))
    assert {p.requires_grad for p in student.decoder.project_out.parameters()} == {trains}
    assert all(p.requires_grad for p in student.decoder.stages.parameters())
    assert not any(p.requires_grad for p in student.encoder.parameters())
    freeze(student, recipe(loss=loss, tap=tap, freeze_project_out=True))
    assert not any(p.requires_grad for p in student.decoder.project_out.parameters())


def test_the_plan_counts_what_a_run_draws(photo_list: tuple[Photo, ...]) -> None:
    params = distill_params(samples_per_epoch=30, accumulation_steps=3)
    plan = plan_run(5, params, processes=2)
    assert (plan.samples, plan.steps, plan.crops, plan.keep_pixels) == (30, 6, 20, True)
    training, _ = draw_crops(photo_list, plan, params, seed=0)
    assert len(training.distinct_crops(params.epochs)) <= plan.crops
    many = distill_params(samples_per_epoch=None, crops_per_image=10**6)
    assert plan_run(5, many, processes=1).samples == 5
    assert not plan_run(5, many, processes=1).keep_pixels
    with pytest.raises(UserError, match="found 4, expected a multiple of the 3 processes"):
        plan_run(5, params, processes=3)
