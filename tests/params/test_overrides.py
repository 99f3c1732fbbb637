"""Overrides of parameters, as DVC's own parser reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from dcde.params.overrides import leaves, overrides


def test_overrides_are_flat_and_without_spaces() -> None:
    settings = {"a": {"b": [0, 1], "c": None}, "d": True, "e": "x:y", "f": 1e-6}
    found = overrides(leaves(settings))
    assert found == ["a.b=[0,1]", "a.c=null", "d=true", "e=x:y", "f=1e-06"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [0, 1, 2],
        True,
        "env OMP_NUM_THREADS=1 python",
        "0123456789",
        "12e4567",
        "null",
        '/my photos/a "b", {c}=[d].pth',
        "hf:owner/name@v1.0/vae",
    ],
)
def test_dvc_reads_each_override_as_the_value_it_came_from(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("eval: {weights: before}\n")
    apply_overrides(path, overrides({"eval.weights": value}))
    assert yaml.safe_load(path.read_text()) == {"eval": {"weights": value}}
