"""What is left of the distance between student and teacher."""

from __future__ import annotations

from collections.abc import Mapping


def gap_to_teacher(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Student minus teacher for each score, and how much of pruning's loss training won back.

    `<score>_recovered` is (student - pruned) / (teacher - pruned): 0 as pruned, 1 as the teacher.
    """
    teacher, pruned, student = scores["teacher"], scores["pruned"], scores["student"]
    gap = {name: student[name] - teacher[name] for name in teacher}
    for name in ("psnr_db", "lpips"):
        lost = teacher[name] - pruned[name]
        if lost:
            gap[f"{name}_recovered"] = (student[name] - pruned[name]) / lost
    return gap
