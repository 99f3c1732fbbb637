"""The residual branches of a decoder, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from dcde.model.blocks import (
    ConvLayer,
    ConvPixelShuffle,
    EfficientViTBlock,
    GLUMBConv,
    InterpolateConv,
    LiteMLA,
    OpSequential,
    ResBlock,
    Residual,
)
from dcde.model.dcae import Decoder


class Branch(NamedTuple):
    """A residual branch of a decoder."""

    stage: int
    block: int | None
    """Its place among the stage's blocks; None: before them."""
    residual: Residual


def branches(decoder: Decoder) -> list[Branch]:
    """Return all residual branches, in the order in which they run."""
    last = len(decoder.stages) - 1
    found = [Branch(last, None, decoder.project_in)]
    for i in reversed(range(last + 1)):
        stage = decoder.stages[i]
        assert isinstance(stage, OpSequential)
        block = 0
        for op in stage.op_list:
            if isinstance(op, EfficientViTBlock):
                found += [Branch(i, block, op.context_module), Branch(i, block, op.local_module)]
                block += 1
            else:
                assert isinstance(op, Residual)
                is_block = isinstance(op.main, ResBlock)
                found.append(Branch(i, block if is_block else None, op))
                block += is_block
    return found


def writer(main: nn.Module) -> ConvLayer:
    """Return the last convolution of a branch, with its norm."""
    match main:
        case ConvLayer():
            return main
        case ResBlock():
            return main.conv2
        case LiteMLA():
            return main.proj
        case GLUMBConv():
            return main.point_conv
        case ConvPixelShuffle() | InterpolateConv():
            return main.conv
    raise TypeError(f"{type(main).__name__}: not a branch of a decoder")


def run(
    module: nn.Module, layer: ConvLayer, streams: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return a module's outputs, and what a layer inside it reads."""
    read: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    outputs = [module(x) for x in streams]
    handle.remove()
    return outputs, read
