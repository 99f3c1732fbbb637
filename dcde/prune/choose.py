"""Choosing which blocks to drop: by their place, or by what each was measured to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dcde.base.errors import UserError
from dcde.base.params import PruneParams
from dcde.model import DCAEConfig
from dcde.model.costs import decoder_macs
from dcde.prune.depth import Kept, kept_by_place, student_config
from dcde.prune.influence import BlockInfluence
from dcde.prune.widths import narrow_config

Score = Callable[[BlockInfluence], float]

COUNTED_AT = 256
"""Side in pixels at which shares of MACs are counted; they hardly depend on it."""


def kept_by_influence(
    depth_list: tuple[int, ...], blocks: Sequence[BlockInfluence], score: Score
) -> Kept:
    """The blocks of each stage with the highest scores, in their order; ties keep the earlier."""
    kept = []
    for stage, count in enumerate(depth_list):
        ranked = sorted((b for b in blocks if b.stage == stage), key=lambda b: (-score(b), b.block))
        kept.append(tuple(sorted(b.block for b in ranked[:count])))
    return tuple(kept)


def depths_for_budget(
    teacher: DCAEConfig,
    narrow: DCAEConfig,
    share: float,
    blocks: Sequence[BlockInfluence],
    score: Score,
) -> tuple[int, ...]:
    """The depth list after dropping blocks, cheapest influence per MAC first, until it fits.

    At least one block stays in every stage that has any.

    Args:
        narrow: the teacher with the student's widths.
        share: largest share of the teacher's decoder MACs, of 1.
    """
    depths = list(narrow.decoder.depths)
    macs, full = _decoder_macs(narrow), _decoder_macs(teacher)
    saved = _macs_of_one_block(narrow)
    droppable = [b for b in blocks if saved[b.stage]]
    order = sorted(droppable, key=lambda b: (score(b) / saved[b.stage], b.stage, b.block))
    for block in order:
        if macs / full <= share:
            break
        if depths[block.stage] > 1:
            depths[block.stage] -= 1
            macs -= saved[block.stage]
    return tuple(depths)


def check_prune(teacher: DCAEConfig, prune: PruneParams) -> None:
    """Refuse what this teacher can't be pruned to, before anything is measured.

    Raises:
        UserError: for depths and widths that it can't fill; for a budget that can't be met, with
            the smallest share there is.
    """
    narrow = narrow_config(teacher, prune.width_list, prune.inner_ratio)
    if prune.depth_list is not None:
        student_config(teacher, prune.depth_list)
    if prune.budget is not None:
        depths = tuple(min(1, depth) for depth in teacher.decoder.depths)
        least = decoder_macs_share(teacher, narrow.with_decoder_depths(depths, narrow.name))
        if prune.budget.decoder_macs < least:
            raise UserError(
                f"prune.budget.decoder_macs: found {prune.budget.decoder_macs}, expected at least "
                f"{math.ceil(1e4 * least) / 1e4}, which is the share with one block in each stage"
            )


def choose_blocks(
    teacher: DCAEConfig, prune: PruneParams, blocks: Sequence[BlockInfluence]
) -> Kept:
    """The blocks that the student keeps, as parameters say that passed `check_prune`.

    Args:
        blocks: the measured influence of every block, where the parameters ask for it.
    """

    def score(block: BlockInfluence) -> float:
        return block.stream_change if prune.influence == "stream" else block.output_change

    depth_list = prune.depth_list
    if prune.budget is not None:
        narrow = narrow_config(teacher, prune.width_list, prune.inner_ratio)
        depth_list = depths_for_budget(teacher, narrow, prune.budget.decoder_macs, blocks, score)
    assert depth_list is not None
    if prune.method == "influence":
        return kept_by_influence(depth_list, blocks, score)
    return kept_by_place(teacher.decoder.depths, depth_list, prune.method)


def decoder_macs_share(teacher: DCAEConfig, student: DCAEConfig) -> float:
    """The student's decoder MACs over the teacher's."""
    return _decoder_macs(student) / _decoder_macs(teacher)


def _decoder_macs(config: DCAEConfig) -> int:
    return decoder_macs(config, max(COUNTED_AT, config.downsampling))


def _macs_of_one_block(config: DCAEConfig) -> list[int]:
    """For each stage, what one of its blocks costs; 0 where it has none or one."""
    full, depths = _decoder_macs(config), config.decoder.depths
    costs = []
    for stage, depth in enumerate(depths):
        fewer = (*depths[:stage], max(1, depth - 1) if depth else 0, *depths[stage + 1 :])
        costs.append(full - _decoder_macs(config.with_decoder_depths(fewer, config.name)))
    return costs
