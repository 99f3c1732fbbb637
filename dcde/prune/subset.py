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
from dcde.prune.choose_channels import Channels, axes, group_sizes
from dcde.prune.refit import samples, with_norm

POSITIONS = 12_000
"""Positions of the feature maps, over all images, that a covariance is measured on."""
RIDGE = 1e-3
"""Added to the diagonal of the covariance, as a share of its mean."""


def covariances(
    layer: ConvLayer, inputs: Sequence[Tensor], channel: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Measure a convolution's inputs, and its outputs as the norm behind it scales them.

    Args:
        inputs: batches of (B, C_in, H, W).
        channel: (C_in,), the channel of a group that each input belongs to. A channel's entries are
            all taps of its inputs.
        seed: of the positions that are drawn.

    Returns:
        Covariances (channels, entries, channels, entries) of the inputs, and (channels, entries,
        C_out) of inputs and outputs, in double precision.
    """
    weight = layer.conv.weight.flatten(1)
    if isinstance(layer.norm, RMSNorm2d):
        weight = weight * layer.norm.weight[:, None]
    else:
        weight = with_norm(layer)[0]
    count, total = 0, weight.new_zeros(weight.shape[1], dtype=torch.float64)
    squares = total.new_zeros(len(total), len(total))
    for x, _ in samples(layer.conv, inputs, inputs, seed, POSITIONS):
        count += len(x)
        total += x.sum(dim=0, dtype=torch.float64)
        squares += x.T @ x
    squares = squares.div_(count).addr_(total / count, total / count, alpha=-1)
    products = squares @ weight.double().T
    order = channel.to(weight.device).repeat_interleave(len(total) // len(channel))
    order = order.argsort(stable=True)  # the entries of a channel together
    channels = int(channel.max()) + 1
    squares = squares[order[:, None], order].view(channels, -1, channels, len(order) // channels)
    return squares, products[order].view(channels, -1, len(weight))


def best_channels(squares: Tensor, products: Tensor, count: int) -> Tensor:
    """Choose the channels whose entries explain most of the outputs' variance.

    The Schur complements are kept as a Cholesky factor and what is needed of them besides: the
    diagonal blocks of S and of T T^T.

    Args:
        squares: (channels, size, channels, size), covariances S of the inputs, where a channel has
            `size` entries: its taps, say.
        products: (channels, size, outputs), covariances T of inputs and outputs.

    Returns:
        (count,), sorted, on the CPU.
    """
    channels, size, outputs = products.shape
    S, T = squares.view(channels * size, -1), products.flatten(0, 1)
    ridge = RIDGE * S.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    S_cc = squares.diagonal(dim1=0, dim2=2).movedim(-1, 0) + ridge * torch.eye(size).to(S)
    TT_cc = products @ products.mT
    factor, explained = S.new_zeros(len(S), count * size), S.new_zeros(count * size, outputs)
    chosen: list[int] = []
    for i in range(count):
        gains = torch.cholesky_solve(TT_cc, torch.linalg.cholesky(S_cc))
        gains = gains.diagonal(dim1=1, dim2=2).sum(dim=1)
        gains[chosen] = -1
        c = int(gains.argmax())
        chosen.append(c)
        rows, before = slice(c * size, (c + 1) * size), slice(i * size)
        left, seen = factor[:, before], explained[before]
        root = torch.linalg.cholesky(S_cc[c])
        column = S[:, rows] - left @ left[rows].T
        column[rows] = S_cc[c]  # with the ridge
        column = torch.linalg.solve_triangular(root.T, column, upper=True, left=False)
        explains = torch.linalg.solve_triangular(root, T[rows] - left[rows] @ seen, upper=False)
        crossed = T @ explains.T - left @ (seen @ explains.T)
        factor[:, i * size : (i + 1) * size] = column
        explained[i * size : (i + 1) * size] = explains
        column, crossed = column.view(channels, size, size), crossed.view(channels, size, size)
        TT_cc += column @ (explains @ explains.T) @ column.mT
        TT_cc -= crossed @ column.mT + column @ crossed.mT
        S_cc -= column @ column.mT
        S_cc[c] = torch.eye(size).to(S)
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
        if branch.block is None or branch.block not in kept[branch.stage]:
            continue
        axis = axes(full, f"{names[layer]}.conv.weight")[1]
        assert axis is not None
        first, place = full.first_block(branch.stage), kept[branch.stage].index(branch.block)
        group = axis.group.replace(f".op{first + branch.block}.", f".op{first + place}.")
        if counts[group] < before[axis.group]:
            squares, products = covariances(layer, inputs, axis.channel, seed)
            chosen[group] = best_channels(squares, products, counts[group])
    return chosen
