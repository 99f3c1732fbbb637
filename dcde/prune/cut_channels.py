"""Cut channels: a student whose decoder has fewer of them, in its stream or inside its blocks.

The student starts by computing what the teacher would compute with the cut channels set to zero.
Beside cutting tensors, this takes two corrections:

- The shortcuts up have no parameters: they add coarse channels to fine ones by place, and places
  move when channels are cut. The convolution beside a shortcut subtracts what the student's
  shortcut adds and adds what the teacher's did: -1 and +1 in the middle of its kernel.
  `InterpolateConv` has one kernel for the four pixels of a square and gets the mean of the four.
- An RMS norm divides by a mean over channels, and fewer channels have another mean: its weight is
  scaled by the root of their ratio, measured on calibration images. If the cut channels are zero,
  this is sqrt(all / kept), and all is exact but for the norm's eps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dcde.model import DCAE, DCAEConfig
from dcde.model.blocks import RMSNorm2d
from dcde.model.dcae import build_on_meta
from dcde.prune.calibrate import input_energy
from dcde.prune.choose_channels import (
    Channels,
    axes,
    by_energy,
    choose_channels,
    group_sizes,
    places,
    shortcut_sources,
)

Choice = Literal["direct", "gap", "random", "rebuild"]


@torch.no_grad()
def narrow(
    model: DCAE,
    config: DCAEConfig,
    choice: Choice,
    latents: Sequence[Tensor],
    *,
    seed: int,
    inside: Channels | None = None,
) -> tuple[DCAE, Channels]:
    """Return a narrower student of the same depth, and the channels that it kept.

    The student is on the latents' device, the model on the CPU.

    Args:
        config: the student's, see `dcde.prune.shape.narrower_config`.
        latents: to calibrate with, batches of (B, latent_channels, h, w), on the model's device.
        seed: of `random`.
        inside: the channels to keep inside blocks, if they are chosen already
            (`dcde.prune.subset`); then `choice` applies to the streams alone.
    """
    full, narrower = model.config.decoder, config.decoder
    by_use = choice == "rebuild"
    energy: dict[str, Tensor] = {}
    if narrower.widths != full.widths or (by_use and inside is None):
        energy = input_energy(model, latents)
    if choice == "rebuild" and not energy:  # all channels of the streams stay
        scores = {group: torch.zeros(size) for group, size in group_sizes(full).items()}
    elif choice == "rebuild":
        scores = by_energy(full, model.cpu().decoder.state_dict(), energy)
    else:
        scores = places(full, narrower, choice, torch.Generator().manual_seed(seed))
    kept = choose_channels(full, narrower, scores, linked=by_use) | (inside or {})
    return cut_channels(model.cpu(), config, kept, energy).to(latents[0].device), kept


@torch.no_grad()
def cut_channels(
    model: DCAE, config: DCAEConfig, kept: Channels, energy: Mapping[str, Tensor]
) -> DCAE:
    """Return the student that keeps these channels and computes what they did in the model.

    Args:
        energy: mean square of each input channel of the decoder's RMS norms whose stream is cut.
    """
    full = model.config.decoder
    student = build_on_meta(config)
    cut: dict[str, Tensor] = {}
    for name, tensor in model.decoder.state_dict().items():
        for dim, axis in enumerate(axes(full, name)[: tensor.ndim]):
            if axis is not None:
                tensor = tensor.index_select(dim, axis.positions(kept))
        cut[name] = tensor.clone()
    student.encoder.load_state_dict(
        {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()},
        assign=True,
    )
    student.decoder.load_state_dict(cut, assign=True)
    for name, module in student.decoder.named_modules():
        if isinstance(module, RMSNorm2d):
            axis = axes(full, f"{name}.weight")[0]
            assert axis is not None
            positions = axis.positions(kept)
            if len(positions) < len(axis.channel):
                mean_square = energy[name]
                ratio = mean_square[positions].mean() / mean_square.mean()
                module.weight.mul_(ratio.sqrt().nan_to_num(1.0))
    _keep_shortcuts(student, model.config, kept)
    return student.eval()


def _keep_shortcuts(student: DCAE, full: DCAEConfig, kept: Channels) -> None:
    """Let the convolution beside each shortcut correct for the channels that moved."""
    last = len(full.decoder.widths) - 1
    before = (*full.decoder.widths, full.latent_channels)
    now = (*student.config.decoder.widths, full.latent_channels)
    kept = kept | {f"stage{last + 1}": torch.arange(full.latent_channels)}
    for i in range(full.decoder.first_stage, last + 1):
        factor = 1 if i == last else 2
        theirs = _shortcut(before[i + 1], before[i], factor)
        theirs = theirs[kept[f"stage{i}"]][:, :, kept[f"stage{i + 1}"]]
        moved = theirs - _shortcut(now[i + 1], now[i], factor)
        name = f"stages.{i}.op_list.0.main.conv.conv" if i < last else "project_in.main.conv"
        centre = student.decoder.get_parameter(f"{name}.weight")[:, :, 1, 1]
        each_pixel = len(centre) == now[i] * factor**2
        centre += moved.flatten(0, 1) if each_pixel else moved.mean(dim=1)


def _shortcut(coarse: int, fine: int, factor: int) -> Tensor:
    """(fine, factor^2, coarse): 1 where a coarse channel is added to a pixel of a fine one."""
    sources = shortcut_sources(coarse, fine, factor)
    return F.one_hot(sources, coarse).float().view(fine, factor**2, coarse)
