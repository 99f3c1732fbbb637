"""Depth pruning: what is kept is copied bit for bit, what can't be is refused."""

from __future__ import annotations

import itertools

import pytest
import torch

from dcde.errors import UserError
from dcde.model import DCAE
from dcde.pruning import kept_blocks, prune_depth


def test_kept_blocks() -> None:
    assert kept_blocks(30, 15, "direct") == list(range(15))
    assert kept_blocks(10, 2, "gap") == [0, 9]
    gap = kept_blocks(30, 15, "gap")
    assert len(set(gap)) == 15 and gap[0] == 0 and gap[-1] == 29
    assert max(b - a for a, b in itertools.pairwise(gap)) <= 3
    assert kept_blocks(5, 1, "gap") == [0]


@pytest.mark.parametrize("method", ["direct", "gap", "random"])
def test_dropping_nothing_is_the_identity(tiny_model: DCAE, method: str) -> None:
    student = prune_depth(tiny_model, (0, 3, 2, 2), method, seed=0)  # type: ignore[arg-type]
    state = student.state_dict()
    assert all(torch.equal(state[k], v) for k, v in tiny_model.state_dict().items())


def test_blocks_come_from_where_the_method_says(tiny_model: DCAE) -> None:
    source = tiny_model.decoder.stages[1].op_list  # upsampling, then three blocks
    for method, origins in (("direct", [0, 1, 2]), ("gap", [0, 1, 3])):
        student = prune_depth(tiny_model, (0, 2, 2, 1), method, seed=0)  # type: ignore[arg-type]
        target = student.decoder.stages[1].op_list
        assert len(target) == 3
        for block, origin in zip(target, origins, strict=True):
            theirs = source[origin].state_dict()
            assert all(torch.equal(v, theirs[k]) for k, v in block.state_dict().items())


@pytest.mark.parametrize("method", ["direct", "gap", "random"])
def test_unpruned_parts_are_copied_bit_for_bit(tiny_model: DCAE, method: str) -> None:
    student = prune_depth(tiny_model, (0, 1, 2, 1), method, seed=0)  # type: ignore[arg-type]
    theirs = tiny_model.state_dict()
    for name, tensor in student.state_dict().items():
        untouched = name.startswith(
            ("encoder.", "decoder.project_", "decoder.stages.2.", "decoder.stages.1.op_list.0.")
        )
        if untouched:
            assert torch.equal(tensor, theirs[name]), name


def test_random_draws_from_the_seed(tiny_model: DCAE) -> None:
    def weight(seed: int) -> torch.Tensor:
        student = prune_depth(tiny_model, (0, 1, 2, 2), "random", seed=seed)
        return student.state_dict()["decoder.stages.1.op_list.1.main.conv1.conv.weight"]

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
    assert weight(1).std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    ("depth_list", "message"),
    [
        ((0, 1, 2), r"found \[0, 1, 2\] with 3 entries, expected 4: the teacher's is \[0, 3, 2, 2"),
        ((0, 4, 2, 2), "stage 1 is deeper than the teacher's: expected at most 3"),
        ((1, 3, 2, 2), "stage 0 is deeper"),
        ((0, 3, 0, 2), "stage 2 is empty: expected at least 1"),
    ],
)
def test_bad_depth_list_is_named(
    tiny_model: DCAE, depth_list: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=r"prune\.depth_list: .*" + message):
        prune_depth(tiny_model, depth_list, "direct", seed=0)


@torch.no_grad()
def test_dropping_a_block_whose_branch_is_zero_changes_nothing(tiny_model: DCAE) -> None:
    branch = tiny_model.decoder.stages[1].op_list[3].main.conv2.norm
    branch.weight.zero_()
    branch.bias.zero_()
    student = prune_depth(tiny_model, (0, 2, 2, 2), "direct", seed=0)
    latent = torch.randn(1, 4, 4, 4)
    torch.testing.assert_close(student.decode(latent), tiny_model.decode(latent))
