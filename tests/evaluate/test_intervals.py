"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from dcde.evaluate.intervals import mean_interval, score_intervals


def test_interval_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = mean_interval(values, [str(i) for i in range(400)], seed=0) or (0, 0)
    half = 1.96 * values.std(ddof=1) / 400**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    groups = [str(i) for i in range(60)]
    hits = 0
    for i in range(200):
        low, high = mean_interval(rng.normal(size=60), groups, seed=i) or (0, 0)
        hits += low <= 0 <= high
    assert 180 <= hits <= 199


def test_crops_of_one_photo_count_as_one() -> None:
    """The same value four times over is no more certain than once."""
    once = np.random.default_rng(0).normal(size=30)
    groups = [str(i) for i in range(30)]
    single = mean_interval(once, groups, seed=0)
    repeated = mean_interval(np.repeat(once, 4), list(np.repeat(groups, 4)), seed=0)
    assert single == pytest.approx(repeated)
    apart = mean_interval(np.repeat(once, 4), [str(i) for i in range(120)], seed=0)
    assert single and apart and apart[1] - apart[0] < 0.6 * (single[1] - single[0])


def test_interval_comes_from_the_seed_and_needs_two_photos() -> None:
    values, groups = np.arange(10.0), [str(i) for i in range(10)]
    assert mean_interval(values, groups, seed=1) == mean_interval(values, groups, seed=1)
    assert mean_interval(values, groups, seed=1) != mean_interval(values, groups, seed=2)
    assert mean_interval(values, ["a"] * 10, seed=1) is None


def test_paired_differences_are_surer_than_the_scores() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.normal(27, 3, 60)
    student = teacher - 0.5 + rng.normal(0, 0.1, 60)
    intervals = score_intervals(
        {"teacher": {"psnr_db": teacher}, "student": {"psnr_db": student}},
        [str(i) for i in range(60)],
        seed=0,
    )
    assert set(intervals) == {"teacher", "student", "gap"}
    low, high = intervals["gap"]["psnr_db"] or (0, 0)
    assert -0.55 < low < -0.5 < high < -0.45
    wide = intervals["student"]["psnr_db"] or (0, 0)
    assert wide[1] - wide[0] > 1
