"""The package as it is imported, and the repository as it is cloned."""

import subprocess
import sys
from pathlib import Path

import dcde
from tests.helpers.tiny import ROOT, run


def test_exports_are_there() -> None:
    for name in ("decode_tiled", "load_model", "optimize", "save_model", "zoo_config"):
        assert callable(getattr(dcde, name)) and name in dir(dcde)


def test_importing_the_package_alone_is_cheap() -> None:
    code = "import sys, dcde; print('torch' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_clone_with_crlf_has_the_same_bytes(tmp_path: Path) -> None:
    """Or DVC would take its files for changed ones."""
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(tmp_path)]
    assert run(clone, tmp_path).returncode == 0
    for line in run(["git", "ls-files", "--eol"], tmp_path).stdout.splitlines():
        index, tree, *_ = line.split()
        assert index.removeprefix("i/") == tree.removeprefix("w/"), line
