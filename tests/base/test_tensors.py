"""Files of tensors that can't be read are named in one line."""

from __future__ import annotations

import os
import sys
import tempfile
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
from tests.helpers.tiny import run

READ_AS_ANOTHER = """
import os, sys
from pathlib import Path
from dcde.base.errors import one_line_errors
from dcde.base.tensors import read_tensors
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
with one_line_errors():
    read_tensors(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("read", [read_tensors, load_lpips, load_lite0, load_inception])
def test_a_damaged_file(read: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(UserError, match=r"x\.safetensors: not a whole safetensors file \("):
        read(tmp_path / "x.safetensors")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs a second user")
def test_a_file_for_its_owner_alone() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is private
        path = Path(folder, "x.safetensors")
        save_file({"x": torch.zeros(1)}, path)
        path.chmod(0o600)
        os.chmod(folder, 0o755)
        assert read_tensors(path)
        done = run([sys.executable, "-c", READ_AS_ANOTHER, str(path)], Path.cwd())
    assert (
        done.stderr
        == f"error: {path}: permission denied; its owner can allow it with `chmod a+r`\n"
    )
