"""Confidence intervals of mean scores, with several pictures from each photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
Interval = tuple[float, float]


def mean_interval(values: np.ndarray, groups: Sequence[str]) -> Interval | None:
    """Return a 95% interval of the mean of (B,) values; None if all come from one photo.

    Crops of one photo are alike, so photos, not crops, are the samples. The mean over crops is a
    ratio of two sums over photos: their values and their counts. A ratio estimator has the standard
    error sqrt(n / (n - 1) * sum_i (total_i - mean * count_i)^2) / sum_i count_i for n photos
    (Cochran, Sampling Techniques, 3rd edition, 6.3), and follows Student's t with n - 1 degrees of
    freedom. If each photo has as many crops, this is the t-interval of the photos' means.

    Args:
        groups: the photo that each value comes from.
    """
    from scipy.stats import t  # takes a second to import, which commands need not wait for

    names, group = np.unique(np.asarray(groups), return_inverse=True)
    n = len(names)
    if n < 2:
        return None
    totals, counts = np.bincount(group, values), np.bincount(group)
    mean = totals.sum() / counts.sum()
    spread = np.square(totals - mean * counts).sum()
    error = np.sqrt(n / (n - 1) * spread) / counts.sum()
    half = t.ppf((1 + CONFIDENCE) / 2, n - 1) * error
    return float(mean - half), float(mean + half)


def score_intervals(
    values: Mapping[str, Mapping[str, np.ndarray]],
    groups: Sequence[str],
    *,
    difference: str = "gap",
    of: str = "student",
    minus: str = "teacher",
) -> dict[str, dict[str, Interval | None]]:
    """Return intervals of each model's mean scores, and of two models' difference by picture."""
    columns = {name: values[of][name] - values[minus][name] for name in values[minus]}
    return {
        model: {name: mean_interval(column, groups) for name, column in scores.items()}
        for model, scores in {**values, difference: columns}.items()
    }


def score_rows(
    scores: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Interval | None]],
) -> list[dict[str, Any]]:
    """Return a row for each model (and "gap") and score: its mean, and its interval if any."""
    rows = []
    for model, means in scores.items():
        for score, mean in means.items():
            low, high = intervals[model].get(score) or (None, None)
            rows.append({"model": model, "score": score, "mean": mean, "low": low, "high": high})
    return rows
