"""Depth pruning: what is kept is copied bit for bit, the choice is the one that was asked for."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE
from dcde.params.file import validate
from dcde.params.pipeline import PruneParams
from dcde.prune.choose_blocks import (
    BlockInfluence,
    block_influence,
    evenly,
    kept_by_influence,
    kept_by_place,
)
from dcde.prune.cut_blocks import cut_blocks
from dcde.prune.prune import Pruning, influence_table, prune, stage_table
from dcde.prune.shape import student_config
from tests.helpers.distill_run import same_weights
from tests.helpers.tiny import tiny_config

ALL = ((), (0, 1, 2), (0, 1), (0, 1))


def params(**changes: Any) -> PruneParams:
    values = {"depth_list": [0, 2, 1, 1], "method": "direct", "inner_ratio": None, "repair": False}
    return validate(values | {"calibration_images": 4} | changes, PruneParams, where="prune")


def test_kept_by_place() -> None:
    depths, depth_list = (0, 5, 30), (0, 1, 15)
    assert kept_by_place(depths, depth_list, "direct") == ((), (0,), tuple(range(15)))
    assert kept_by_place(depths, depth_list, "last") == ((), (4,), tuple(range(15, 30)))
    spread = kept_by_place(depths, depth_list, "gap")[2]
    assert len(set(spread)) == 15 and spread[0] == 0 and spread[-1] == 29
    assert max(b - a for a, b in itertools.pairwise(spread)) <= 3
    assert evenly(10, 2) == (0, 9) and evenly(10, 0) == ()


def test_dropping_nothing_is_the_identity_in_memory_of_its_own(tiny_model: DCAE) -> None:
    owned = {tensor.data_ptr() for tensor in tiny_model.state_dict().values()}
    for fresh_seed in (None, 0):
        student = cut_blocks(tiny_model, ALL, fresh_seed=fresh_seed)
        assert same_weights(student, tiny_model)
        assert not owned & {tensor.data_ptr() for tensor in student.state_dict().values()}


def test_blocks_come_from_where_they_were_kept(tiny_model: DCAE) -> None:
    source = tiny_model.decoder.stages[1].op_list  # upsampling, then three blocks
    target = cut_blocks(tiny_model, ((), (0, 2), (1,), (0,))).decoder.stages[1].op_list
    assert len(target) == 3
    for block, origin in zip(target, (0, 1, 3), strict=True):
        assert same_weights(block, source[origin])


@pytest.mark.parametrize("fresh_seed", [None, 0])
def test_unpruned_parts_are_copied_bit_for_bit(tiny_model: DCAE, fresh_seed: int | None) -> None:
    student = cut_blocks(tiny_model, ((), (0,), (0, 1), (0,)), fresh_seed=fresh_seed)
    theirs = tiny_model.state_dict()
    for name, tensor in student.state_dict().items():
        if name.startswith(
            ("encoder.", "decoder.project_", "decoder.stages.2.", "decoder.stages.1.op_list.0.")
        ):
            assert torch.equal(tensor, theirs[name]), name


def test_fresh_weights_come_from_the_seed(tiny_model: DCAE) -> None:
    def weight(seed: int) -> torch.Tensor:
        student = cut_blocks(tiny_model, ((), (0,), (0, 1), (0, 1)), fresh_seed=seed)
        return student.state_dict()["decoder.stages.1.op_list.1.main.conv1.conv.weight"]

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
    assert weight(1).std().item() == pytest.approx(0.02, rel=0.2)


def silence(model: DCAE, stage: int, block: int) -> None:
    """Make a residual block's branch zero: a block that does nothing."""
    norm = model.decoder.stages[stage].op_list[1 + block].main.conv2.norm
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)


@torch.no_grad()
def test_dropping_a_block_whose_branch_is_zero_changes_nothing(tiny_model: DCAE) -> None:
    silence(tiny_model, 1, 1)
    student = cut_blocks(tiny_model, ((), (0, 2), (0, 1), (0, 1)))
    latent = torch.randn(1, 4, 4, 4)
    torch.testing.assert_close(student.decode(latent), tiny_model.decode(latent))


def test_a_planted_useless_block_is_dropped_first(tiny_model: DCAE) -> None:
    silence(tiny_model, 1, 1)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    blocks = block_influence(tiny_model, images, untrained_lpips(), batch_size=1)
    after = tiny_model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [(b.stage, b.place) for b in blocks] == [
        *((3, 0), (3, 1), (2, 0), (2, 1), (1, 0), (1, 1), (1, 2))
    ]
    planted = blocks[5]
    assert planted.output_change == planted.psnr_loss_db == 0
    assert all(b.output_change > 0 for b in blocks if b is not planted)
    assert kept_by_influence((0, 2, 2, 2), blocks) == ((), (0, 2), (0, 1), (0, 1))


def planned(stage: int, scores: list[float]) -> list[BlockInfluence]:
    return [BlockInfluence(stage, i, s, s) for i, s in enumerate(scores)]


def test_influence_keeps_the_strongest_in_their_order() -> None:
    blocks = planned(1, [0.1, 0.5, 0.3]) + planned(2, [0.2, 0.2])
    assert kept_by_influence((0, 2, 1), blocks) == ((), (1, 2), (0,))


def unmeasured(model: DCAE, chosen: PruneParams, images: Tensor) -> Pruning:
    return prune(
        model,
        chosen,
        images=lambda: images,
        lpips_metric=lambda: pytest.fail("something was measured"),
        seed=0,
        device=torch.device("cpu"),
    )


def test_what_was_chosen_is_told(tiny_model: DCAE) -> None:
    chosen = params(depth_list=[0, 1, 2, 1], method="last", inner_ratio=[1, 1, 0.5, 1])
    pruning = unmeasured(tiny_model, chosen, torch.rand(2, 3, 64, 64) * 2 - 1)
    rows = stage_table(tiny_model.config, pruning)
    assert [row["kept_blocks"] for row in rows] == ["", "2", "0 1", "1"]
    assert [row["teacher_blocks"] for row in rows] == [0, 3, 2, 2]
    assert [row["inner_width"] for row in rows[:3]] == [4, 8, 8]
    told = influence_table(planned(1, [0.5]))
    assert told[0]["block"] == "stage1.0" and told[0]["output_change"] == 0.5


@pytest.mark.parametrize(
    ("depth_list", "message"),
    [
        ((0, 1, 2), r"found \[0, 1, 2\] with 3 entries, expected 4: the teacher's is \[0, 3, 2, 2"),
        ((0, 4, 2, 2), "stage 1 is deeper than the teacher's: expected at most 3"),
        ((1, 3, 2, 2), "stage 0 is deeper"),
        ((0, 3, 0, 2), "stage 2 is empty: expected at least 1"),
    ],
)
def test_impossible_depths_are_refused(depth_list: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=r"prune\.depth_list: .*" + message):
        student_config(tiny_config(), params(depth_list=depth_list))


def test_too_few_photos_to_repair_on_are_refused_before_anything_is_measured(
    tiny_model: DCAE,
) -> None:
    chosen = params(method="influence", repair=True)
    expected = r"prune\.calibration_images: found .* of 32 px, .*least 2"
    with pytest.raises(UserError, match=expected):
        unmeasured(tiny_model, chosen, torch.zeros(1, 3, 32, 32))
