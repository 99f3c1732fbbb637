"""Bad input by the dozen: one line, or the right result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import soak as soaking
from benchmarks.soak import soak
from tests.helpers.tiny import ROOT


def test_bad_input_ends_in_one_line_or_in_the_right_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    ends, faults = soak(200, seed=0)
    assert faults == []
    total = sum(ends.values(), Counter[str]())
    assert total["refused"] + total["right"] == 200
    assert all(count["refused"] and count["right"] for count in ends.values())


def test_a_traceback_and_a_wrong_result_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(rng: object, folder: Path) -> None:
        raise KeyError("what a user would see") if folder.name else AssertionError

    monkeypatch.setattr(soaking, "photo", wrong)
    _, faults = soak(4, seed=0)
    assert faults == ["photo 2: KeyError: 'what a user would see'"]
