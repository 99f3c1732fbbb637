"""Cut blocks: a student that keeps some blocks of each stage of the teacher's decoder."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from dcde.model import DCAE, DCAEConfig
from dcde.model.blocks import (
    InterpolateConv,
    OpSequential,
    Residual,
    RMSNorm2d,
    as_pixel_shuffle,
)
from dcde.model.dcae import build_on_meta
from dcde.prune.choose_blocks import Kept
from dcde.prune.shape import shorter_config

INIT_STD = 0.02
"""Standard deviation of fresh convolution weights."""


@torch.no_grad()
def cut_blocks(teacher: DCAE, kept: Kept, *, fresh_seed: int | None = None) -> DCAE:
    """Return a student with fewer decoder blocks; all others are copied bit for bit.

    Args:
        kept: places of the blocks kept in each stage, in order.
        fresh_seed: if given, every block of a pruned stage gets fresh weights, drawn from it.
    """
    depths = tuple(len(places) for places in kept)
    config = shorter_config(teacher.config, depths)
    student = build_on_meta(config)
    state = teacher.state_dict()
    if config.decoder.first_stage > teacher.config.decoder.first_stage:
        state |= _without_finest_stage(teacher, student)
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


def _without_finest_stage(teacher: DCAE, student: DCAE) -> dict[str, Tensor]:
    """Return the tensors that change: all upsampling now shuffles pixels, and the output layer does
    so too. It gives gray until it is repaired or trained."""
    state: dict[str, Tensor] = {}
    for i, stage in enumerate(teacher.decoder.stages[:-1]):
        assert isinstance(stage, OpSequential)
        first = stage.op_list[0]
        if isinstance(first, Residual) and isinstance(first.main, InterpolateConv):
            for name, tensor in as_pixel_shuffle(first.main).state_dict().items():
                state[f"decoder.stages.{i}.op_list.0.main.{name}"] = tensor
    for name, parameter in student.decoder.project_out.named_parameters():
        fill = torch.ones if name == "op_list.0.weight" else torch.zeros  # the norm's
        state[f"decoder.project_out.{name}"] = fill(parameter.shape)
    return state


def _teachers_name(name: str, kept: Kept, config: DCAEConfig) -> str:
    """Return the name of the teacher's tensor that fills the student's tensor of this name."""
    match = re.fullmatch(r"(decoder\.stages\.(\d+)\.op_list\.)(\d+)(\..*)", name)
    if match is None:
        return name
    head, stage, position, tail = match[1], int(match[2]), int(match[3]), match[4]
    first = config.decoder.first_block(stage)
    if position >= first:
        position = first + kept[stage][position - first]
    return f"{head}{position}{tail}"


def draw_weights(block: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights: convolutions normal with deviation `INIT_STD`, biases 0, norms as new."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0.0, INIT_STD, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d | RMSNorm2d):
            module.reset_parameters()
