"""Overrides of parameters, as DVC's own parser reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from dcde.params.overrides import changed, leaves, overrides


def test_overrides_are_flat_and_without_spaces() -> None:
    settings = {"a": {"b": [0, 1], "c": None}, "d": True, "e": "x:y", "f": 1e-6}
    found = overrides(leaves(settings))
    assert found == ["a.b=[0,1]", "a.c=null", "d=true", "e=x:y", "f=1e-06"]


THEN = {
    "launcher": "python",
    "prune": {"depth_list": [0, 3, 6], "inner_ratio": None, "method": "last"},
    "eval": {"weights": None, "fid": False},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prune.depth_list": None, "prune.inner_ratio": [1, 0.25]},
        {"prune.depth_list": [0, 1, 2], "eval.fid": True},
        {"launcher": "env OMP_NUM_THREADS=1 python", "prune.method": "gap"},
        {"eval.weights": "0123456789"},
        {"eval.weights": "12e4567"},
        {"eval.weights": "null"},
        {"eval.weights": '/my photos/a "b", {c}=[d].pth'},
        {"eval.weights": "hf:owner/name@v1.0/vae"},
    ],
)
def test_dvc_makes_the_new_parameters_of_the_old_and_the_overrides(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    now = yaml.safe_load(yaml.safe_dump(THEN))
    for name, value in changes.items():
        *sections, last = name.split(".")
        (now[sections[0]] if sections else now)[last] = value
    assert {name: new for name, (_, new) in changed(THEN, now).items()} == changes
    for base, other in ((THEN, now), (now, THEN)):
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(base))
        settings = {name: new for name, (_, new) in changed(base, other).items()}
        apply_overrides(path, overrides(settings))
        assert yaml.safe_load(path.read_text()) == other


def test_what_one_tree_lacks_is_none() -> None:
    then, now = {"a": {"b": 1, "c": 2}, "d": {"e": 3}}, {"a": {"b": 1}, "d": None, "f": 4}
    assert changed(then, now) == {"a.c": (2, None), "d": ({"e": 3}, None), "f": (None, 4)}
