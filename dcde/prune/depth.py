"""Depth pruning: a student that keeps some blocks of each stage of the teacher's decoder."""

from __future__ import annotations

import re
from typing import Literal

import torch
from pydantic import ValidationError
from torch import nn

from dcde.base.errors import UserError
from dcde.model import DCAE, DCAEConfig
from dcde.model.blocks import OpSequential, RMSNorm2d
from dcde.model.dcae import build_on_meta

ByPlace = Literal["direct", "gap", "random", "last"]
"""Ways to choose blocks that look at no weight; `random` blocks fill the places of `direct`."""
Kept = tuple[tuple[int, ...], ...]
"""For each stage of the decoder, the places of the teacher's blocks that the student keeps."""

INIT_STD = 0.02
"""Deviation of the normal distribution of fresh convolution weights."""


def evenly(total: int, kept: int) -> tuple[int, ...]:
    """`kept` of `total` places at even intervals, both ends among them.

    >>> evenly(10, 3)
    (0, 4, 9)
    """
    return tuple(i * (total - 1) // (kept - 1) for i in range(kept)) if kept > 1 else (0,) * kept


def kept_by_place(depths: tuple[int, ...], depth_list: tuple[int, ...], method: ByPlace) -> Kept:
    """Which blocks to keep, by their place in the stage alone."""
    pairs = zip(depths, depth_list, strict=True)
    if method == "gap":
        return tuple(evenly(total, kept) for total, kept in pairs)
    if method == "last":
        return tuple(tuple(range(total - kept, total)) for total, kept in pairs)
    return tuple(tuple(range(kept)) for _, kept in pairs)


def student_config(teacher: DCAEConfig, depth_list: tuple[int, ...]) -> DCAEConfig:
    """The student's configuration.

    Raises:
        UserError: for a depth list of the wrong length, deeper than the teacher's, or empty where
            the teacher has blocks.
    """
    depths = teacher.decoder.depths
    found = f"prune.depth_list: found {list(depth_list)}"
    if len(depth_list) != len(depths):
        raise UserError(
            f"{found} with {len(depth_list)} entries, expected {len(depths)}: "
            f"the teacher's is {list(depths)}"
        )
    for i, (student, full) in enumerate(zip(depth_list, depths, strict=True)):
        if student > full:
            raise UserError(
                f"{found}, stage {i} is deeper than the teacher's: expected at most {full}"
            )
        if student == 0 and full > 0:
            raise UserError(f"{found}, stage {i} is empty: expected at least 1")
    name = f"{teacher.name}-pruned-{'-'.join(map(str, depth_list))}"
    try:
        return teacher.with_decoder_depths(depth_list, name)
    except ValidationError as error:
        raise UserError(f"{found}: {error.errors()[0]['msg']}") from None


@torch.no_grad()
def prune_depth(teacher: DCAE, kept: Kept, *, fresh_seed: int | None = None) -> DCAE:
    """A student with fewer decoder blocks; all that is not pruned is copied bit for bit.

    Args:
        kept: places of the blocks kept in each stage, in order.
        fresh_seed: if given, every block of a pruned stage gets fresh weights, drawn from it.
    """
    depths = tuple(len(places) for places in kept)
    config = student_config(teacher.config, depths)
    state = teacher.state_dict()
    student = build_on_meta(config)
    student.load_state_dict(
        {
            name: state[_teachers_name(name, kept, teacher.config)].clone()
            for name in student.state_dict()
        },
        assign=True,
    )
    if fresh_seed is not None:
        generator = torch.Generator().manual_seed(fresh_seed)
        for i, stage in enumerate(student.decoder.stages):
            assert isinstance(stage, OpSequential)
            if depths[i] < teacher.config.decoder.depths[i]:
                for block in stage.op_list[config.decoder.first_block(i) :]:
                    draw_weights(block, generator)
    return student.eval()


def _teachers_name(name: str, kept: Kept, config: DCAEConfig) -> str:
    """The teacher's tensor that fills the student's tensor of this name."""
    match = re.fullmatch(r"(decoder\.stages\.(\d+)\.op_list\.)(\d+)(\..*)", name)
    if match is None:
        return name
    head, stage, position, tail = match[1], int(match[2]), int(match[3]), match[4]
    first = config.decoder.first_block(stage)
    if position >= first:
        position = first + kept[stage][position - first]
    return f"{head}{position}{tail}"


def draw_weights(block: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights: convolutions normal with deviation `INIT_STD`, biases 0, norms as new."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0.0, INIT_STD, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d | RMSNorm2d):
            module.reset_parameters()
