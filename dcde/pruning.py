"""Depth pruning: a student that keeps some blocks of each stage of the teacher's decoder."""

from __future__ import annotations

import re
from typing import Literal

import torch
from pydantic import ValidationError
from torch import nn

from dcde.errors import UserError
from dcde.model import DCAE, DCAEConfig
from dcde.model.blocks import OpSequential, RMSNorm2d
from dcde.model.dcae import build_on_meta

Method = Literal["direct", "gap", "random"]

INIT_STD = 0.02
"""Deviation of the normal distribution of fresh convolution weights."""


def kept_blocks(total: int, kept: int, method: Method) -> list[int]:
    """Which of a stage's blocks the student takes its weights from.

    direct: the first ones; gap: at even intervals, round(i * (total - 1) / (kept - 1)).

    >>> kept_blocks(10, 3, "direct"), kept_blocks(10, 3, "gap")
    ([0, 1, 2], [0, 4, 9])
    """
    if method == "gap" and kept > 1:
        return [i * (total - 1) // (kept - 1) for i in range(kept)]
    return list(range(kept))


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
def prune_depth(teacher: DCAE, depth_list: tuple[int, ...], method: Method, *, seed: int) -> DCAE:
    """A student with fewer decoder blocks; all that is not pruned is copied bit for bit.

    With `random`, every block of a pruned stage gets fresh weights, drawn from the seed.

    Raises:
        UserError: see `student_config`.
    """
    config = student_config(teacher.config, depth_list)
    full = teacher.config.decoder.depths
    origins = [
        kept_blocks(total, kept, method) for total, kept in zip(full, depth_list, strict=True)
    ]
    state = teacher.state_dict()
    student = build_on_meta(config)
    student.load_state_dict(
        {
            name: state[_teachers_name(name, origins, teacher.config)].clone()
            for name in student.state_dict()
        },
        assign=True,
    )
    if method == "random":
        generator = torch.Generator().manual_seed(seed)
        for i, stage in enumerate(student.decoder.stages):
            assert isinstance(stage, OpSequential)
            if depth_list[i] < full[i]:
                for block in stage.op_list[config.decoder.first_block(i) :]:
                    draw_weights(block, generator)
    return student.eval()


def _teachers_name(name: str, origins: list[list[int]], config: DCAEConfig) -> str:
    """The teacher's tensor that fills the student's tensor of this name."""
    match = re.fullmatch(r"(decoder\.stages\.(\d+)\.op_list\.)(\d+)(\..*)", name)
    if match is None:
        return name
    head, stage, position, tail = match[1], int(match[2]), int(match[3]), match[4]
    first = config.decoder.first_block(stage)
    if position >= first:
        position = first + origins[stage][position - first]
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
