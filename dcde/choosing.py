"""Choosing which blocks to drop by what each was measured to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dcde.config import PruneParams
from dcde.errors import UserError
from dcde.influence import BlockInfluence
from dcde.model import DCAEConfig
from dcde.profiling import static_costs
from dcde.pruning import Keep, Kept, kept_by_place, student_config

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
    teacher: DCAEConfig, share: float, blocks: Sequence[BlockInfluence], score: Score
) -> tuple[int, ...]:
    """The depth list after dropping blocks, cheapest influence per MAC first, until it fits.

    At least one block stays in every stage that has any.

    Args:
        share: largest share of the teacher's decoder MACs, of 1.

    Raises:
        UserError: if even one block a stage is over the budget, with the smallest share there is.
    """
    depths = list(teacher.decoder.depths)
    full = _decoder_macs(teacher, depths)
    saved = _macs_of_one_block(teacher, full)
    droppable = [b for b in blocks if saved[b.stage]]
    order = sorted(droppable, key=lambda b: (score(b) / saved[b.stage], b.stage, b.block))
    macs = full
    for block in order:
        if macs <= share * full:
            break
        if depths[block.stage] > 1:
            depths[block.stage] -= 1
            macs -= saved[block.stage]
    if macs > share * full:
        raise UserError(
            f"prune.budget.decoder_macs: found {share}, expected at least {macs / full:.4f}, "
            f"the share with one block in each stage"
        )
    return tuple(depths)


def choose_blocks(
    teacher: DCAEConfig, prune: PruneParams, blocks: Sequence[BlockInfluence]
) -> Kept:
    """The blocks that the student keeps, as the parameters say.

    Args:
        blocks: the measured influence of every block, where the parameters ask for it.

    Raises:
        UserError: for a depth list that the teacher can't fill, or a budget that can't be met.
    """

    def score(block: BlockInfluence) -> float:
        return block.stream_change if prune.influence == "stream" else block.output_change

    depth_list = prune.depth_list
    if prune.budget is not None:
        depth_list = depths_for_budget(teacher, prune.budget.decoder_macs, blocks, score)
    assert depth_list is not None
    student_config(teacher, depth_list)  # refuses what does not fit
    if prune.measures:
        return kept_by_influence(depth_list, blocks, score)
    by_method: dict[str, Keep] = {"direct": "first", "gap": "even", "random": "first"}
    keep = prune.keep or by_method[prune.method]
    assert keep != "influence"
    return kept_by_place(teacher.decoder.depths, depth_list, keep)


def decoder_macs_share(teacher: DCAEConfig, depths: Sequence[int]) -> float:
    """The student's decoder MACs over the teacher's."""
    return _decoder_macs(teacher, depths) / _decoder_macs(teacher, teacher.decoder.depths)


def _decoder_macs(teacher: DCAEConfig, depths: Sequence[int]) -> int:
    config = teacher.with_decoder_depths(tuple(depths), teacher.name)
    return static_costs(config, max(COUNTED_AT, config.downsampling))["decoder_macs"]


def _macs_of_one_block(teacher: DCAEConfig, full: int) -> list[int]:
    """For each stage, what one of its blocks costs; 0 where it has none or one."""
    depths = teacher.decoder.depths
    costs = []
    for stage, depth in enumerate(depths):
        fewer = [*depths[:stage], max(1, depth - 1) if depth else 0, *depths[stage + 1 :]]
        costs.append(full - _decoder_macs(teacher, fewer))
    return costs
