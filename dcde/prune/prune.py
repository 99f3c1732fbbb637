"""Pruning as a whole: choose the blocks, cut them, cut channels, repair what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcde.base.params import PruneParams
from dcde.model import DCAE, DCAEConfig
from dcde.prune.calibrate import picture_scores
from dcde.prune.channels import Channels
from dcde.prune.choose import check_prune, choose_blocks
from dcde.prune.depth import Kept, prune_depth
from dcde.prune.influence import BlockInfluence, block_influence
from dcde.prune.narrow import prune_width
from dcde.prune.repair import check_positions, repair
from dcde.prune.start import existing_student
from dcde.prune.widths import narrow_config

ENCODED_AT_ONCE = 4
"""Images in a batch of repair: few, as it holds features of the full resolution."""


@dataclass(frozen=True)
class Pruning:
    """A pruned student and what led to it."""

    student: DCAE
    kept: Kept | None
    """The teacher's blocks that the student kept; None for a student that was there already."""
    blocks: Sequence[BlockInfluence]
    """The measured influence of each of the teacher's blocks; empty where none was asked for."""
    scores: dict[str, dict[str, float]]
    """PSNR in dB and LPIPS on the calibration photos, of the student as it was "cut" and as it was
    "repaired", or of one that was there, at the "start"; empty where no repair was asked for."""


def prune(
    teacher: DCAE,
    params: PruneParams,
    *,
    images: Callable[[], Tensor],
    lpips_metric: Callable[[], nn.Module],
    seed: int,
    device: torch.device,
) -> Pruning:
    """Make a student of the teacher as the parameters say; it is on the CPU, and so is the teacher.

    Args:
        images: the calibration photos, (B, 3, H, W) in [-1, 1] on the device; only called where
            something is measured on them.
        lpips_metric: LPIPS on the device; only called where pictures are compared.
        seed: of fresh blocks, of channels chosen at random, and of positions that repair fits on.

    Raises:
        UserError: for what this teacher can't be pruned to, and for too few photos to repair it
            on, before anything is measured.
    """
    if params.start is not None:
        student = existing_student(params.start, teacher).to(device)
        latents = _encode(teacher.to(device), images())
        scores = {"start": picture_scores(student, latents, images(), lpips_metric())}
        return Pruning(student.cpu(), None, [], scores)
    check_prune(teacher.config, params)
    if params.repair:
        narrow = narrow_config(teacher.config, params.width_list, params.inner_ratio)
        count, size = len(images()), images().shape[-1]
        check_positions(narrow, params.calibration_images, count, size)
    blocks: Sequence[BlockInfluence] = []
    if params.method == "influence":
        blocks = block_influence(teacher.to(device), images(), lpips_metric())
    kept = choose_blocks(teacher.config, params, blocks)
    fresh_seed = seed if params.method == "random" else None
    student = prune_depth(teacher.cpu(), kept, fresh_seed=fresh_seed).to(device)
    channels: Channels = {}
    if params.narrows:
        config = narrow_config(student.config, params.width_list, params.inner_ratio)
        student, channels = prune_width(student, config, params.channels, images(), seed=seed)
    scores = {}
    if params.repair:
        latents = _encode(teacher.to(device), images())
        scores["cut"] = picture_scores(student, latents, images(), lpips_metric())
        repair(student, teacher, kept, channels, latents, seed=seed)
        scores["repaired"] = picture_scores(student, latents, images(), lpips_metric())
    return Pruning(student.cpu(), kept, blocks, scores)


@torch.no_grad()
def _encode(model: DCAE, images: Tensor) -> list[Tensor]:
    return [model.encode(batch) for batch in images.split(ENCODED_AT_ONCE)]


def stage_table(teacher: DCAEConfig, pruning: Pruning) -> list[dict[str, Any]]:
    """A row for each stage of the decoder: what of it was kept."""
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


INFLUENCE_COLUMNS = ("block", "output_change", "stream_change", "psnr_loss_db")


def influence_table(blocks: Sequence[BlockInfluence]) -> list[dict[str, Any]]:
    """A row for each block whose influence was measured."""
    return [asdict(block) | {"block": block.name} for block in blocks]
