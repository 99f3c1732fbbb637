"""The package as it is imported, and the repository as it is cloned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dcde
from tests.helpers.tiny import ROOT, run


@pytest.mark.parametrize(
    "name", ["decode_tiled", "load_model", "optimize", "save_model", "zoo_config"]
)
def test_exports_are_there(name: str) -> None:
    assert callable(getattr(dcde, name)) and name in dir(dcde)


def test_importing_the_package_alone_is_cheap() -> None:
    code = "import sys, dcde; print('torch' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dcde' has no attribute 'optimise'"):
        _ = dcde.optimise


def test_a_model_is_loaded_by_any_of_its_names() -> None:
    model = dcde.load_model("bundled:dc-ae-f16c16-photos")
    assert model.config.name == "dc-ae-f16c16-photos"


def test_a_clone_with_crlf_has_the_same_bytes(tmp_path: Path) -> None:
    """Or DVC would take its files for changed ones."""
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(tmp_path)]
    assert run(clone, tmp_path).returncode == 0
    for line in run(["git", "ls-files", "--eol"], tmp_path).stdout.splitlines():
        index, tree, *_ = line.split()
        assert index.removeprefix("i/") == tree.removeprefix("w/"), line
