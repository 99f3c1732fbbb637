"""Channels that do nothing."""

import torch

from dcde.model import DCAE
from dcde.prune.choose_channels import Channels, axes, group_sizes

KINDS = [("R", "bn2d"), ("R", "trms2d"), ("E", "trms2d"), ("S", "trms2d")]
"""Kinds of blocks, with their norms."""


def at_random(sizes: dict[str, int], counts: dict[str, int]) -> Channels:
    """For each group, as many of its channels as `counts` says, in order."""
    generator = torch.Generator().manual_seed(0)
    return {
        g: torch.randperm(n, generator=generator)[: counts[g]].sort()[0] for g, n in sizes.items()
    }


def without(sizes: dict[str, int], kept: Channels) -> Channels:
    return {
        g: torch.tensor(sorted(set(range(sizes[g])) - set(k.tolist()))).long()
        for g, k in kept.items()
    }


def kill_half_inside(model: DCAE) -> dict[str, int]:
    """Make half of the channels inside the blocks zero; return how many each group has left."""
    sizes = group_sizes(model.config.decoder)
    half = {g: n // 2 if g.endswith("inner") else n for g, n in sizes.items()}
    kill(model, without(sizes, at_random(sizes, half)))
    return half


def kill(model: DCAE, dead: Channels) -> None:
    """Make channels zero: no weight writes or reads them, and what a shortcut adds is taken off."""
    config = model.config.decoder
    for name, tensor in model.decoder.state_dict().items():
        for dim, axis in enumerate(axes(config, name)[: tensor.ndim]):
            if axis is not None and "running_var" not in name:
                tensor.index_fill_(dim, axis.positions(dead), 0.0)
    last = len(config.widths) - 1
    for i in range(config.first_stage, last + 1):
        up = model.decoder.stages[i].op_list[0] if i < last else model.decoder.project_in
        count = config.widths[i + 1] if i < last else model.config.latent_channels
        conv = up.main.conv.conv if i < last else up.main.conv
        with torch.no_grad():
            fed = up.shortcut(torch.eye(count)[:, :, None, None])  # (coarse, fine, factor, factor)
            fed = fed.permute(1, 2, 3, 0).flatten(1, 2)
            if len(conv.weight) == fed[..., 0].numel():
                centre = conv.weight[:, :, 1, 1].view_as(fed)
            else:  # one kernel for all pixels
                centre, fed = conv.weight[:, :, 1, 1], fed.mean(dim=1)
            centre[dead[f"stage{i}"]] -= fed[dead[f"stage{i}"]]
