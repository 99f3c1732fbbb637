"""Repair a pruned decoder: refit its convolutions in closed form, with no training.

Much of what pruning removes is a linear function of what it leaves. So each convolution that writes
to the residual stream is refitted by ridge regression on calibration images: from its inputs in the
student to what the student's stream lacks of the teacher's. (Least-squares reconstruction: He et
al., arXiv 1707.06168; ThiNet, arXiv 1707.06342.) One pass walks the decoder in order, so each
convolution sees the output of the repaired ones before it and makes up for their errors. The last
one before dropped blocks also does their work, because its target is the teacher's stream behind
them. If the stream that the output layer reads is narrower, or the finest stage is gone, the last
convolution is fitted to the teacher's picture. Otherwise that layer stays the teacher's: refitting
it gave better pictures before distillation and worse ones after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dcde.base.errors import UserError
from dcde.model import DCAE, DCAEConfig
from dcde.model.blocks import ConvPixelShuffle
from dcde.prune.branches import Branch, branches, run, writer
from dcde.prune.choose_blocks import Kept
from dcde.prune.choose_channels import Channels
from dcde.prune.refit import refit


@torch.no_grad()
def repair(
    student: DCAE,
    teacher: DCAE,
    kept: Kept,
    channels: Channels,
    latents: Sequence[Tensor],
    *,
    seed: int,
) -> None:
    """Fit the student's decoder to the teacher's, in place; both are in evaluation mode.

    Args:
        kept: places of the teacher's blocks that the student has, for each stage.
        channels: the teacher's channels that the student has, for each "stage<i>" that lost any.
        latents: batches to fit on, (B, latent_channels, h, w), on the models' device.
        seed: of the positions that regressions use.
    """
    first = student.config.decoder.first_stage
    ours, theirs = branches(student.decoder), branches(teacher.decoder)
    finer = [b.residual for b in theirs if b.stage < first]
    theirs = [b for b in theirs if b.stage >= first]
    ends = targets_of(theirs, kept)
    narrower = student.config.decoder.narrower_than(teacher.config.decoder)
    streams = targets = list(latents)
    for i, branch in enumerate(tqdm(ours, desc="repair", unit="branch")):
        for _, _, residual in theirs[ends[i - 1] if i else 0 : ends[i]]:
            targets = [residual(x) for x in targets]
        aims = targets
        if branch.stage in narrower:
            places = channels[f"stage{branch.stage}"].to(latents[0].device)
            aims = [x[:, places] for x in targets]
        shortcut = branch.residual.shortcut or nn.Identity()
        shortcuts = [shortcut(x) for x in streams]
        lacking = [aim - x for aim, x in zip(aims, shortcuts, strict=True)]
        outputs = _refit_writer(branch.residual.main, streams, lacking, seed + i)
        streams = [x + y for x, y in zip(shortcuts, outputs, strict=True)]
    if finer or ours[-1].stage in narrower:
        norm, act, last = student.decoder.project_out.op_list
        for residual in finer:
            targets = [residual(x) for x in targets]
        pictures = [teacher.decoder.project_out(x) for x in targets]
        _refit_writer(last, [act(norm(x)) for x in streams], pictures, seed + len(ours))


def check_positions(student: DCAEConfig, asked: int, count: int, size: int) -> None:
    """Reject too few positions to fit convolutions on, for their number of weights per output.

    With fewer positions than weights, the fit leaves undetermined directions as they were; with
    less than a tenth as many, it does more harm than good.

    Args:
        asked: how many calibration images the parameters ask for.
        count: how many there are.
        size: their side in pixels.

    Raises:
        UserError: with the least count of images.
    """
    decoder, least = student.decoder, 0
    for i in range(decoder.first_stage, len(decoder.widths)):
        inside = decoder.inner_width(i) * (9 if decoder.block_types[i] == "R" else 1)
        positions = size**2 // 4**i
        least = max(least, math.ceil(inside / positions / 10))
        if i + 1 < len(decoder.widths):
            seen = positions // 4 if decoder.upsample == "ConvPixelShuffle" else positions
            least = max(least, math.ceil(9 * decoder.widths[i + 1] / seen / 10))
    if count < least:
        there_are = "" if count >= asked else f" (there are only {count})"
        raise UserError(
            f"prune.calibration_images: found {asked}{there_are} of {size} px, expected at least "
            f"{least}, or prune.repair: false and, if channels are cut, prune.channels: gap"
        )


def targets_of(teacher: Sequence[Branch], kept: Kept) -> list[int]:
    """Return, for each branch of the student, how many of the teacher's lie before its target.

    The target is the teacher's stream before the next branch that the student also has.
    """
    here = [i for i, b in enumerate(teacher) if b.block is None or b.block in kept[b.stage]]
    return [*here[1:], len(teacher)]


def _refit_writer(
    main: nn.Module, streams: Sequence[Tensor], wanted: Sequence[Tensor], seed: int
) -> list[Tensor]:
    """Fit the last convolution of a branch to the wanted outputs; return the actual ones."""
    layer = writer(main)
    _, inputs = run(main, layer, streams)
    if isinstance(main, ConvPixelShuffle):
        refit(layer, inputs, [F.pixel_unshuffle(x, 2) for x in wanted], seed)
        return [F.pixel_shuffle(layer(x), 2) for x in inputs]
    refit(layer, inputs, wanted, seed)
    return [layer(x) for x in inputs]
