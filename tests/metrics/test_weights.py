"""The metrics' networks, where they lie ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcde.metrics.inception import INCEPTION
from dcde.metrics.lite0 import LITE0
from dcde.metrics.lpips import LPIPS_ALEX
from dcde.metrics.weights import find_networks


def test_a_ready_cache_is_only_read(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may belong to another user."""
    cache = in_folder / "dcde/metric_networks"
    cache.mkdir(parents=True)
    for name in (LPIPS_ALEX, LITE0, INCEPTION):
        (cache / name).touch()
    before = sorted(in_folder.rglob("*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_folder))
    assert find_networks() == find_networks(fid=True) == cache
    assert sorted(in_folder.rglob("*")) == before
