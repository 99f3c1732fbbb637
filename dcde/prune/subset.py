"""Choose input channels of convolutions by how much of the outputs they can rebuild.

After pruning, repair refits each convolution to its old outputs, so a channel is worth keeping only
for what the other kept channels can't stand in for. This is column subset selection, done greedily:
with S the covariance of a convolution's inputs and T = S W^T theirs with its outputs, the channel c
(all its taps together, as one block) with the largest tr(T_c^T S_cc^-1 T_c) explains most of the
outputs' variance. S and T then become those of what the chosen channels leave unexplained: their
Schur complements, of which only the diagonal blocks of S are kept up to date, along with the chosen
columns of its Cholesky factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from dcde.model import DCAE, DecoderConfig
from dcde.model.blocks import ConvLayer, RMSNorm2d
from dcde.prune.branches import branches, run, writer
from dcde.prune.choose_blocks import Kept
from dcde.prune.choose_channels import Channels, axes, group_sizes, students_group
from dcde.prune.refit import samples, with_norm

POSITIONS = 12_000
"""Positions of the feature maps, over all images, that a covariance is measured on."""
RIDGE = 1e-3
"""Added to the diagonal of the covariance, as a share of its mean."""


class Reader:
    """A convolution that reads a group of channels, and what the chosen ones leave unexplained.

    Args:
        inputs: batches of (B, C_in, H, W).
        channel: (C_in,), the group's channel that each input belongs to.
        seed: of the positions that are drawn.
    """

    def __init__(
        self, layer: ConvLayer, inputs: Sequence[Tensor], channel: Tensor, seed: int
    ) -> None:
        conv, norm = layer.conv, layer.norm
        taps = conv.weight[0, 0].numel()
        order = channel.argsort(stable=True).to(conv.weight.device)  # a group's channels together
        order = (order[:, None] * taps + torch.arange(taps).to(order)).flatten()
        count, total = 0, torch.zeros(len(order), dtype=torch.float64, device=order.device)
        squares = total.new_zeros(len(order), len(order))
        for x, _ in samples(conv, inputs, inputs, seed, POSITIONS):
            count += len(x)
            total += x.sum(dim=0, dtype=torch.float64)
            squares += x.T @ x
        squares = squares.div_(count).addr_(total / count, total / count, alpha=-1)
        weight = conv.weight.flatten(1)
        if isinstance(norm, RMSNorm2d):
            weight = weight * norm.weight[:, None]
        elif norm is not None:
            weight = with_norm(layer)[0]
        weight = weight.double()
        unexplained = squares @ weight.T
        channels = int(channel.max()) + 1
        self.squares = squares[order][:, order]
        self.squares.diagonal().add_(RIDGE * squares.diagonal().mean())
        self.unexplained = unexplained[order].unflatten(0, (channels, -1))
        size = self.unexplained.shape[1]
        blocks = self.squares.view(channels, size, channels, size)
        self.diagonal = blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0).clone()
        self.factor: list[Tensor] = []

    def gains(self) -> Tensor:
        """Return how much more of the outputs' variance each channel would explain."""
        root = torch.linalg.cholesky(self.diagonal)
        scaled = torch.linalg.solve_triangular(root, self.unexplained, upper=False)
        return scaled.square().sum(dim=(1, 2))

    def take(self, channel: int) -> None:
        """Count a channel among the chosen ones."""
        size = self.unexplained.shape[1]
        rows = slice(channel * size, (channel + 1) * size)
        column = self.squares[:, rows].clone()
        for part in self.factor:
            column -= part @ part[rows].T
        root = torch.linalg.cholesky(self.diagonal[channel])
        column = torch.linalg.solve_triangular(root.T, column, upper=True, left=False)
        self.factor.append(column)
        explains = torch.linalg.solve_triangular(root, self.unexplained[channel], upper=False)
        blocks = column.unflatten(0, (-1, size))
        self.unexplained -= blocks @ explains
        self.diagonal -= blocks @ blocks.mT
        self.diagonal[channel] = torch.eye(size).to(self.diagonal)
        self.unexplained[channel] = 0


def best_channels(reader: Reader, count: int) -> Tensor:
    """Return so many channels that explain most of the reader's outputs, sorted, on the CPU."""
    chosen: list[int] = []
    for _ in range(count):
        gains = reader.gains()
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        reader.take(chosen[-1])
    return torch.tensor(sorted(chosen))


@torch.no_grad()
def rebuilding_channels(
    teacher: DCAE, narrow: DecoderConfig, kept: Kept, latents: Sequence[Tensor], *, seed: int
) -> Channels:
    """Choose the channels inside the student's blocks, and their attention heads.

    They are measured in the whole teacher, not in one without the blocks that the student drops.

    Args:
        narrow: the student's decoder.
        kept: the teacher's blocks that the student keeps.
        latents: batches of (B, latent_channels, h, w), on the teacher's device.
        seed: of the positions that are drawn.

    Returns:
        The kept channels of each group that loses any, by the group's name in the student.
    """
    full, decoder = teacher.config.decoder, teacher.decoder
    before, counts = group_sizes(full), group_sizes(narrow)
    names = {module: name for name, module in decoder.named_modules()}
    chosen: Channels = {}
    streams = list(latents)
    for branch in tqdm(branches(decoder), desc="choose channels", unit="branch"):
        layer = writer(branch.residual.main)
        streams, inputs = run(branch.residual, layer, streams)
        axis = axes(full, f"{names[layer]}.conv.weight")[1]
        if branch.block is None or axis is None:
            continue
        group = students_group(axis.group, full, kept)
        if group is not None and counts[group] < before[axis.group]:
            reader = Reader(layer, inputs, axis.channel, seed)
            chosen[group] = best_channels(reader, counts[group])
    return chosen
