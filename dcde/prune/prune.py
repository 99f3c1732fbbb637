"""Pruning as a whole: choose the blocks, cut them, cut channels, mend the batch norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcde.base.params import PruneParams
from dcde.model import DCAE, DCAEConfig
from dcde.prune.calibrate import recalibrate
from dcde.prune.choose import check_prune, choose_blocks
from dcde.prune.depth import Kept, prune_depth
from dcde.prune.influence import BlockInfluence, block_influence
from dcde.prune.narrow import prune_width
from dcde.prune.widths import narrow_config


@dataclass(frozen=True)
class Pruning:
    """A pruned student and what led to it."""

    student: DCAE
    kept: Kept
    blocks: Sequence[BlockInfluence]
    """The measured influence of each of the teacher's blocks; empty where none was asked for."""
    recalibration: dict[str, float]
    """PSNR in dB on the calibration photos before and after; empty where it was not asked for."""


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
        lpips_metric: LPIPS on the device; only called where blocks are chosen by influence.
        seed: of fresh blocks, and of channels that are chosen at random.

    Raises:
        UserError: for what this teacher can't be pruned to, before anything is measured.
    """
    check_prune(teacher.config, params)
    blocks: Sequence[BlockInfluence] = []
    if params.method == "influence":
        blocks = block_influence(teacher.to(device), images(), lpips_metric())
    kept = choose_blocks(teacher.config, params, blocks)
    fresh_seed = seed if params.method == "random" else None
    student = prune_depth(teacher.cpu(), kept, fresh_seed=fresh_seed).to(device)
    if params.narrows:
        config = narrow_config(student.config, params.width_list, params.inner_ratio)
        student = prune_width(student, config, params.channels, images(), seed=seed)
    gain = recalibrate(student, images()) if params.recalibrate else {}
    return Pruning(student.cpu(), kept, blocks, gain)


def stage_table(teacher: DCAEConfig, pruning: Pruning) -> list[dict[str, Any]]:
    """A row for each stage of the decoder: what of it was kept."""
    full, student = teacher.decoder, pruning.student.config.decoder
    return [
        {
            "stage": i,
            "teacher_blocks": full.depths[i],
            "kept_blocks": " ".join(map(str, places)),
            "teacher_width": full.widths[i],
            "width": student.widths[i],
            "teacher_inner_width": full.inner_width(i),
            "inner_width": student.inner_width(i),
        }
        for i, places in enumerate(pruning.kept)
    ]


INFLUENCE_COLUMNS = ("block", "output_change", "stream_change", "psnr_loss_db")


def influence_table(blocks: Sequence[BlockInfluence]) -> list[dict[str, Any]]:
    """A row for each block whose influence was measured."""
    return [asdict(block) | {"block": block.name} for block in blocks]
