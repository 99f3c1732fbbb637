"""Pruning as a whole: choose and cut blocks, choose and cut channels, repair what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcde.model import DCAE, DCAEConfig
from dcde.params.pipeline import PruneParams
from dcde.prune.calibrate import picture_scores
from dcde.prune.choose_blocks import (
    BlockInfluence,
    Kept,
    block_influence,
    kept_by_influence,
    kept_by_place,
)
from dcde.prune.choose_channels import Channels
from dcde.prune.cut_blocks import cut_blocks
from dcde.prune.cut_channels import narrow
from dcde.prune.repair import check_positions, repair
from dcde.prune.shape import student_config
from dcde.prune.start import existing_student
from dcde.prune.subset import rebuilding_channels

ENCODED_AT_ONCE = 4
"""Images in a batch of repair: few, because it holds features of the full resolution."""


@dataclass(frozen=True)
class Pruning:
    """A pruned student, and the choices and scores that led to it."""

    student: DCAE
    kept: Kept | None
    """The teacher's blocks that the student kept; None for an existing student."""
    blocks: Sequence[BlockInfluence]
    """The influence of each of the teacher's blocks, if it was measured."""
    scores: dict[str, dict[str, float]]
    """PSNR in dB and LPIPS on the calibration photos: of the student when "cut" and "repaired", or
    of an existing one at the "start"; empty without repair."""


def prune(
    teacher: DCAE,
    params: PruneParams,
    *,
    images: Callable[[], Tensor],
    lpips_metric: Callable[[], nn.Module],
    seed: int,
    device: torch.device,
) -> Pruning:
    """Make a student of the teacher; both end up on the CPU.

    Args:
        images: the calibration photos, (B, 3, H, W) in [-1, 1] on the device; called only if
            something is measured on them.
        lpips_metric: LPIPS on the device; called only if pictures are compared.
        seed: of fresh blocks, random channels, and the positions that repair fits on.

    Raises:
        UserError: for an impossible student, and for too few photos to fit it on, before
            anything is measured.
    """
    if params.start is not None:
        student = existing_student(params.start, teacher).to(device)
        latents = _encode(teacher.to(device), images())
        scores = {"start": picture_scores(student, latents, images(), lpips_metric())}
        return Pruning(student.cpu(), None, [], scores)
    config = student_config(teacher.config, params)
    if params.fits:
        check_positions(config, params.calibration_images, len(images()), images().shape[-1])
    blocks: Sequence[BlockInfluence] = []
    if params.method == "influence":
        blocks = block_influence(teacher.to(device), images(), lpips_metric())
        kept = kept_by_influence(params.depth_list, blocks)
    else:
        kept = kept_by_place(teacher.config.decoder.depths, params.depth_list, params.method)
    fresh_seed = seed if params.method == "random" else None
    student = cut_blocks(teacher.cpu(), kept, fresh_seed=fresh_seed).to(device)
    latents = []
    if params.narrows or params.repair:
        latents = _encode(teacher.to(device), images())
    channels: Channels = {}
    if params.narrows:
        inside = None
        if params.channels == "rebuild":
            inside = rebuilding_channels(teacher, config.decoder, kept, latents, seed=seed)
        student, channels = narrow(
            student, config, params.channels, latents, seed=seed, inside=inside
        )
    scores = {}
    if params.repair:
        scores["cut"] = picture_scores(student, latents, images(), lpips_metric())
        repair(student, teacher, kept, channels, latents, seed=seed)
        scores["repaired"] = picture_scores(student, latents, images(), lpips_metric())
    return Pruning(student.cpu(), kept, blocks, scores)


@torch.no_grad()
def _encode(model: DCAE, images: Tensor) -> list[Tensor]:
    return [model.encode(batch) for batch in images.split(ENCODED_AT_ONCE)]


def stage_table(teacher: DCAEConfig, pruning: Pruning) -> list[dict[str, Any]]:
    """Return a row per stage of the decoder: what it had and what it kept."""
    full, student = teacher.decoder, pruning.student.config.decoder
    return [
        {
            "stage": i,
            "teacher_blocks": full.depths[i],
            "blocks": student.depths[i],
            "kept_blocks": " ".join(map(str, pruning.kept[i])) if pruning.kept else "",
            "teacher_width": full.widths[i],
            "width": student.widths[i],
            "teacher_inner_width": full.inner_width(i),
            "inner_width": student.inner_width(i),
        }
        for i in range(len(full.depths))
    ]


INFLUENCE_COLUMNS = ("block", "output_change", "psnr_loss_db")


def influence_table(blocks: Sequence[BlockInfluence]) -> list[dict[str, Any]]:
    """Return a row per block whose influence was measured."""
    return [asdict(block) | {"block": block.name} for block in blocks]
