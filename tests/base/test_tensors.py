"""Files of tensors that can't be read are named in one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dcde.base.errors import UserError
from dcde.base.tensors import read_tensors
from dcde.metrics.inception import load_inception
from dcde.metrics.lite0 import load_lite0
from dcde.metrics.lpips import load_lpips
from tests.helpers.users import another_user, open_to_others


@pytest.mark.parametrize("read", [read_tensors, load_lpips, load_lite0, load_inception])
def test_a_damaged_file(read: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(UserError, match=r"x\.safetensors: not a whole safetensors file \("):
        read(tmp_path / "x.safetensors")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    open_to_others(tmp_path)
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    path.chmod(0o600)
    assert read_tensors(path)
    denied = r"x\.safetensors: permission denied; its owner can allow it with `chmod a\+r`$"
    with another_user(), pytest.raises(UserError, match=denied):
        read_tensors(path)
