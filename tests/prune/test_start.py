"""A student that is there already is trained on, in place of a pruned teacher."""

from pathlib import Path

import pytest
import torch

from dcde.base.errors import UserError
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from dcde.params.pipeline import PruneParams
from dcde.prune.prune import prune, stage_table
from tests.helpers.distill_run import same_weights
from tests.helpers.tiny import random_model, tiny_config


def params(start: str) -> PruneParams:
    # Nothing could be pruned to these depths, which are ignored.
    return PruneParams(start=start, depth_list=(0, 9, 9, 9), calibration_images=2)


def started(teacher: DCAE, start: str) -> DCAE:
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    pruning = prune(
        teacher,
        params(start),
        images=lambda: images,
        lpips_metric=untrained_lpips,
        seed=0,
        device=torch.device("cpu"),
    )
    assert pruning.scores["start"]["psnr_db"] > 0
    rows = stage_table(teacher.config, pruning)
    assert [row["blocks"] for row in rows] == list(pruning.student.config.decoder.depths)
    assert {row["kept_blocks"] for row in rows} == {""}
    return pruning.student


def test_the_students_decoder_stands_behind_the_teachers_encoder(
    tiny_model: DCAE, tmp_path: Path
) -> None:
    student = random_model(tiny_config((0, 1, 1, 1)), seed=1)
    save_model(student, tmp_path / "student")
    found = started(tiny_model, str(tmp_path / "student"))
    assert same_weights(found.decoder, student.decoder)
    assert same_weights(found.encoder, tiny_model.encoder)


def test_a_model_of_other_latents_or_wider_is_refused(tiny_model: DCAE, tmp_path: Path) -> None:
    config = tiny_model.config
    widths = tuple(2 * width for width in config.decoder.widths)
    for other, message in (
        (config.model_copy(update={"latent_channels": 8}), "a model of latent_channels 8, "),
        (config.with_decoder("wide", widths=widths), r"widths \[.*none above the teacher"),
    ):
        save_model(DCAE(other), tmp_path / "other")
        with pytest.raises(UserError, match=rf"prune\.start: found {message}"):
            started(tiny_model, str(tmp_path / "other"))


@pytest.mark.parametrize("name", ["models/student", "models/pruned", "./models/student"])
def test_what_the_pipeline_writes_anew_must_be_copied(tiny_model: DCAE, name: str) -> None:
    with pytest.raises(UserError, match=rf"prune\.start: found {name}, .*: copy it"):
        started(tiny_model, name)
