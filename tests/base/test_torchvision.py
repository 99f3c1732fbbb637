"""A torchvision that was built for another torch is named in one line, with what to install."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.metrics.lpips import load_lpips


def test_mismatch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "lpips.safetensors"
    weights.touch()
    broken = tmp_path / "torchvision" / "__init__.py"
    broken.parent.mkdir()
    broken.write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    for name in [n for n in sys.modules if n.partition(".")[0] in ("torchvision", "lpips")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as error:
        load_lpips(weights)
    message = str(error.value)
    assert "torchvision::nms does not exist" in message and version("torch") in message
    assert "pip install --upgrade torch torchvision" in message
