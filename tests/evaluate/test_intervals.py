"""Intervals of means over pictures, several of which come from one photo."""

import numpy as np
import pytest
from scipy.stats import sem, t

from dcde.evaluate.intervals import mean_interval, score_intervals, score_rows


def test_interval_of_single_crops_is_students() -> None:
    values = np.random.default_rng(0).normal(5, 2, 15)
    found = mean_interval(values, [str(i) for i in range(15)])
    expected = t.interval(0.95, 14, loc=values.mean(), scale=sem(values))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("crops_of_a_photo", [[4] * 15, [1, 2, 3, 4, 5] * 3])
def test_interval_covers_the_truth_nineteen_times_in_twenty(crops_of_a_photo: list[int]) -> None:
    """With 15 photos, as the default run has; 1.6% are three standard errors of 2,000 trials."""
    rng, trials = np.random.default_rng(0), 2000
    counts = np.array(crops_of_a_photo)
    groups = np.repeat(np.arange(len(counts)), counts)
    hits = 0
    for _ in range(trials):
        values = rng.normal(size=len(counts))[groups] + 0.3 * rng.normal(size=len(groups))
        low, high = mean_interval(values, [str(g) for g in groups]) or (0, 0)
        hits += low <= 0 <= high
    assert hits / trials == pytest.approx(0.95, abs=0.016)


def test_interval_needs_two_photos() -> None:
    assert mean_interval(np.arange(10.0), ["a"] * 10) is None


def test_paired_differences_are_surer_than_the_scores() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.normal(27, 3, 60)
    student = teacher - 0.5 + rng.normal(0, 0.1, 60)
    intervals = score_intervals(
        {"teacher": {"psnr_db": teacher}, "student": {"psnr_db": student}},
        [str(i) for i in range(60)],
    )
    assert set(intervals) == {"teacher", "student", "gap"}
    low, high = intervals["gap"]["psnr_db"] or (0, 0)
    assert -0.55 < low < -0.5 < high < -0.45
    wide = intervals["student"]["psnr_db"] or (0, 0)
    assert wide[1] - wide[0] > 1
    means = {"student": {"psnr_db": 26.5, "fd_lite0": 100.0}}
    first, second = score_rows(means, intervals)
    assert list(first.values()) == ["student", "psnr_db", 26.5, *wide]
    assert (second["mean"], second["low"], second["high"]) == (100.0, None, None)
