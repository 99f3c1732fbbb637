"""Choose the channels that the student keeps.

Channels are cut in coupled groups: "stage<i>", the residual stream of a stage, to which all of its
blocks add; "stage<i>.op<j>.inner", the inside of one block; "stage<i>.op<j>.heads", its attention
heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dcde.model.spec import HEAD_DIM, DecoderConfig
from dcde.prune.choose_blocks import evenly

Channels = dict[str, Tensor]
"""For each group its kept channels, sorted, or a score for each of its channels."""


@dataclass(frozen=True)
class Axis:
    """A dimension of a weight tensor."""

    group: str
    channel: Tensor
    """The group's channel at each position along the dimension."""

    def positions(self, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the positions of the kept channels."""
        return torch.isin(self.channel, kept[self.group]).nonzero().flatten()


# Outputs and inputs of each module of a block, and of the upsampling before the blocks.
_IN_STAGE: dict[str, tuple[str | None, str | None]] = {
    "main.conv.conv": ("upsampled", "coarse stream"),
    "main.conv1.conv": ("inner", "stream"),
    "main.conv2.conv": ("stream", "inner"),
    "main.conv2.norm": ("stream", None),
    "context_module.main.qkv.conv": ("qkv", "stream"),
    "context_module.main.aggreg.0.0": ("qkv", None),
    "context_module.main.aggreg.0.1": ("qkv", None),
    "context_module.main.proj.conv": ("stream", "attended"),
    "context_module.main.proj.norm": ("stream", None),
    "local_module.main.inverted_conv.conv": ("gated", "stream"),
    "local_module.main.depth_conv.conv": ("gated", None),
    "local_module.main.point_conv.conv": ("stream", "inner"),
    "local_module.main.point_conv.norm": ("stream", None),
}


def axes(config: DecoderConfig, name: str) -> tuple[Axis | None, Axis | None]:
    """Return the first dimension (outputs) and the second (inputs) of a decoder's tensor.

    None stands for a dimension that is never cut.
    """
    module = name.rpartition(".")[0]
    match = re.fullmatch(r"stages\.(\d+)\.op_list\.(\d+)\.(.+)", module)
    if match is None:
        stage = len(config.widths) - 1 if module.startswith("project_in") else config.first_stage
        stream = Axis(f"stage{stage}", torch.arange(config.widths[stage]))
        return (None, stream) if module.startswith("project_out.op_list.2") else (stream, None)
    stage = int(match[1])
    outputs, inputs = _IN_STAGE[match[3]]
    block = f"stage{stage}.op{match[2]}"
    return _axis(config, stage, block, outputs), _axis(config, stage, block, inputs)


def _axis(config: DecoderConfig, stage: int, block: str, kind: str | None) -> Axis | None:
    width, inner = config.widths[stage], config.inner_width(stage)
    match kind:
        case "stream":
            return Axis(f"stage{stage}", torch.arange(width))
        case "coarse stream":
            return Axis(f"stage{stage + 1}", torch.arange(config.widths[stage + 1]))
        case "upsampled":  # before pixel shuffle: four positions for each channel
            repeats = 4 if config.upsample == "ConvPixelShuffle" else 1
            return Axis(f"stage{stage}", torch.arange(repeats * width) // repeats)
        case "inner":
            return Axis(f"{block}.inner", torch.arange(inner))
        case "gated":  # values, then their gates
            return Axis(f"{block}.inner", torch.arange(2 * inner) % inner)
        case "qkv":  # q, k and v of the first head, of the second, ...
            return Axis(f"{block}.heads", torch.arange(3 * width) // (3 * HEAD_DIM))
        case "attended":  # all heads, and in S blocks all heads of the second scale
            scales = 2 if config.block_types[stage] == "S" else 1
            heads = torch.arange(scales * width) // HEAD_DIM % (width // HEAD_DIM)
            return Axis(f"{block}.heads", heads)
    return None


def group_sizes(config: DecoderConfig) -> dict[str, int]:
    """Return the number of channels, or heads, of each group."""
    sizes = {}
    for i in range(config.first_stage, len(config.widths)):
        sizes[f"stage{i}"] = config.widths[i]
        first = config.first_block(i)
        for j in range(first, first + config.depths[i]):
            sizes[f"stage{i}.op{j}.inner"] = config.inner_width(i)
            if config.block_types[i] != "R":
                sizes[f"stage{i}.op{j}.heads"] = config.widths[i] // HEAD_DIM
    return sizes


def by_energy(
    config: DecoderConfig, state: Mapping[str, Tensor], energy: Mapping[str, Tensor]
) -> Channels:
    """Score each channel by its share of the energy in the convolutions that read it, summed.

    Energy is mean square times the squared norm of the weights that read the channel (as Wanda's
    score of a weight, arXiv 2306.11695), so scaling the writer up and the reader down changes
    nothing.

    Args:
        energy: mean square of each input channel of each convolution, see
            `dcde.prune.calibrate.input_energy`.
    """
    scores = {group: torch.zeros(size) for group, size in group_sizes(config).items()}
    for name, tensor in state.items():
        axis = axes(config, name)[1]
        if tensor.ndim == 4 and axis is not None:
            mean_square = energy[name.removesuffix(".weight")]
            brought = mean_square * tensor.float().square().sum(dim=(0, 2, 3))
            share = brought / brought.sum().clamp(min=torch.finfo().tiny)
            scores[axis.group].index_add_(0, axis.channel, share)
    return scores


def shortcut_sources(coarse: int, fine: int, factor: int) -> Tensor:
    """Return the input channel that a parameter-free shortcut up adds at each place.

    (fine * factor^2,), where place c * factor^2 + s is output channel c at the s-th pixel of its
    factor x factor square, see `ChannelDuplicate`.
    """
    return torch.arange(fine * factor**2) * coarse // (fine * factor**2)


def choose_channels(
    full: DecoderConfig, narrow: DecoderConfig, scores: Channels, *, linked: bool
) -> Channels:
    """Return the channels of each group with the highest scores; ties keep the earlier channel.

    The streams of two stages are coupled by the shortcut between them, which adds coarse channels
    to fine ones by place. So the finest stream is chosen first, and each coarser one first keeps
    the channels that feed those. If all stages shrink alike, the student's shortcuts then carry
    what the teacher's do.

    Args:
        linked: add the scores of the channels that feed a fine channel to its own.
    """
    sizes = group_sizes(narrow)
    kept = {g: _best(scores[g], n) for g, n in sizes.items() if "." in g}
    first, n = full.first_stage, len(full.widths)
    sources = {
        i: shortcut_sources(full.widths[i + 1], full.widths[i], 2).view(-1, 4)
        for i in range(first, n - 1)
    }
    streams = {i: scores[f"stage{i}"] for i in range(first, n)}
    if linked:
        streams = {i: s / s.sum().clamp(min=torch.finfo().tiny) for i, s in streams.items()}
        for i in reversed(range(first, n - 1)):
            shares = streams[i + 1] * full.widths[i + 1] / (4 * full.widths[i])
            streams[i] = streams[i] + shares[sources[i]].sum(dim=1)
    feeds = torch.zeros(full.widths[first], dtype=torch.bool)
    for i in range(first, n):
        kept[f"stage{i}"] = _best(streams[i], sizes[f"stage{i}"], first=feeds)
        if i + 1 < n:
            feeds = torch.zeros(full.widths[i + 1], dtype=torch.bool)
            feeds[sources[i][kept[f"stage{i}"]]] = True
    return kept


def _best(scores: Tensor, count: int, first: Tensor | None = None) -> Tensor:
    """Return the places of the highest scores, sorted; those in `first` win over all others."""
    order = scores.argsort(descending=True, stable=True)
    if first is not None:
        order = order[first[order].int().argsort(descending=True, stable=True)]
    return order[:count].sort().values


def places(
    full: DecoderConfig,
    narrow: DecoderConfig,
    choice: Literal["direct", "gap", "random"],
    generator: torch.Generator,
) -> Channels:
    """Score channels by place alone: the first, evenly spaced ones, or random ones."""
    scores = {}
    sizes = group_sizes(narrow)
    for group, total in group_sizes(full).items():
        if choice == "random":
            scores[group] = torch.rand(total, generator=generator)
        else:
            scores[group] = torch.zeros(total)
            if choice == "gap":
                scores[group][list(evenly(total, sizes[group]))] = 1.0
    return scores
