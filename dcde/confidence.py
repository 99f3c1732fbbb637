"""How sure a mean over pictures is: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 2000
_BATCH = 10_000_000
"""Numbers that resampling holds at a time."""

Interval = tuple[float, float]


def mean_interval(values: np.ndarray, groups: Sequence[str], seed: int) -> Interval | None:
    """The 95% percentile interval of a mean (Efron 1979), from resampled groups.

    Args:
        values: one for each picture.
        groups: the photo that each picture is cut from. Crops of one photo are alike, so whole
            photos are drawn: drawn singly, crops would promise more certainty than there is.

    Returns:
        None where there is but one group, which says nothing of others.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return None
    result = bootstrap(
        (np.bincount(group, values), np.bincount(group)),
        lambda totals, counts, axis: totals.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // len(names)),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def score_intervals(
    values: Mapping[str, Mapping[str, np.ndarray]], groups: Sequence[str], seed: int
) -> dict[str, dict[str, Interval | None]]:
    """Intervals of each model's mean scores, and of student minus teacher, picture by picture."""
    teacher, student = values["teacher"], values["student"]
    gap = {name: student[name] - teacher[name] for name in teacher}
    return {
        model: {name: mean_interval(column, groups, seed) for name, column in scores.items()}
        for model, scores in {**values, "gap": gap}.items()
    }
