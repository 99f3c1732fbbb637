"""Models by the names that users give them: checked, and clear about being offline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from dcde.base.errors import UserError
from dcde.base.files import sha256_of
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from dcde.model.sources import ASSETS, load_teacher, read_made, record_source
from tests.helpers.tiny import ROOT, run


def test_teacher_from_a_folder_and_its_sha256(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(tiny_model, folder)
    model, sha256 = load_teacher(str(folder), None)
    assert model.config == tiny_model.config
    assert sha256 == sha256_of(folder / "model.safetensors")
    load_teacher(str(folder), sha256)
    with pytest.raises(UserError, match=rf"teacher\.sha256: .* has {sha256}, expected 0000"):
        load_teacher(str(folder), "0" * 64)


def test_a_teacher_whose_folder_changed_is_refused(tiny_model: DCAE, tmp_path: Path) -> None:
    folder, copy = tmp_path / "model", tmp_path / "copy"
    for place in (folder, copy):
        save_model(tiny_model, place)
    record_source(str(folder), "teacher.source", "download_teacher", copy)
    read_made(copy)
    with torch.no_grad():
        next(tiny_model.decoder.parameters()).add_(1)
    save_model(tiny_model, folder)
    with pytest.raises(UserError, match=r"teacher\.source: .*model/model.safetensors has changed"):
        read_made(copy)
    (folder / "model.safetensors").unlink()
    read_made(copy)  # which is whole
    record_source("bundled:dc-ae-f16c16-photos", "prune.start", "prune", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bundled:other", "bundled are only: dc-ae-f16c16-photos"),
        ("no/such/folder", "expected bundled:<name>, hf:<owner>/<name>"),
        ("hf:not a repo", "teacher.source: hf:not a repo: expected hf:<owner>/<name>"),
    ],
)
def test_bad_source_is_named(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_teacher(source, None)


HUB = "import sys; from dcde.base.errors import *; from dcde.model.sources import load_teacher\n"
HUB += "with one_line_errors(): print(load_teacher(sys.argv[1], None)[0].config.name)"


def test_hub_offline_and_cached(tiny_model: DCAE, tmp_path: Path) -> None:
    """The hub's own cache layout is read offline; what is not in it is an error that helps."""
    repo = tmp_path / "hub/models--some--model"
    commit = "a" * 40
    save_model(tiny_model, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for name in ("hf:some/model", f"hf:some/model@{commit}"):
        done = run([sys.executable, "-c", HUB, name], ROOT, **env)
        assert (done.returncode, done.stdout.strip()) == (0, "tiny"), done.stderr
    done = run([sys.executable, "-c", HUB, "hf:some/other"], ROOT, **env)
    assert done.returncode == 1
    assert done.stderr.startswith("error: teacher.source: hf:some/other is not in the hub's cache")
    assert "hf download some/other" in done.stderr and len(done.stderr.splitlines()) == 1


def test_bundled_teacher_loads_and_is_small() -> None:
    model, _ = load_teacher("bundled:dc-ae-f16c16-photos", None)
    assert model.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 16, 4, 4)
    folder = ASSETS / "dc-ae-f16c16-photos"
    assert (folder / "model.safetensors").stat().st_size < 15e6
    assert "dcde" in json.loads((folder / "config.json").read_text())
