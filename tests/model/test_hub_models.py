"""Models on a hub: what is downloaded of a repository, and what is said where it can't be."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcde.base.errors import UserError
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.model.sources import load_teacher
from dcde.model.weights import DIFFUSERS_WEIGHTS, weights_sha256
from tests.helpers.hub_standin import COMMIT, Hub, hub_environment, serve
from tests.helpers.tiny import ROOT, run

INDEX = f"{DIFFUSERS_WEIGHTS}.index.json"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


def diffusers_folder(model: DCAE, folder: Path) -> Path:
    """As others publish it: without our name in it."""
    save_model(model, folder, "diffusers")
    config = json.loads((folder / "config.json").read_text())
    del config["_dcde_name"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def split_weights(folder: Path) -> None:
    """The weights in two files and an index, as diffusers writes large ones."""
    state = load_file(folder / DIFFUSERS_WEIGHTS)
    (folder / DIFFUSERS_WEIGHTS).unlink()
    names = sorted(state)
    parts = {"a-1-of-2.safetensors": names[::2], "a-2-of-2.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in parts.items() for key in keys}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def contents(folder: Path, under: str = "") -> dict[str, bytes]:
    return {under + file.name: file.read_bytes() for file in folder.iterdir()}


EACH = """
import sys
from dcde.base.errors import UserError
from dcde.model.sources import load_model
for source in sys.argv[1:]:
    try:
        model = load_model(source, "--model")
        print(model.config.name, float(sum(p.double().sum() for p in model.parameters())))
    except UserError as error:
        print(error)
"""


def load_each(hub: Hub, home: Path, sources: list[str], **extra: str) -> list[str]:
    done = run([sys.executable, "-c", EACH, *sources], ROOT, **hub_environment(hub, home), **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_only_what_is_read_is_downloaded(hub: Hub, tiny_model: DCAE, tmp_path: Path) -> None:
    whole = diffusers_folder(tiny_model, tmp_path / "whole")
    variants = {
        f"vae/diffusion_pytorch_model.{kind}": b"not read" for kind in ("fp16.safetensors", "bin")
    }
    hub.repos["me/pipeline"] = {"model_index.json": b"{}", **contents(whole, "vae/"), **variants}
    parts = diffusers_folder(tiny_model, tmp_path / "parts")
    split_weights(parts)
    hub.repos["me/parts"] = contents(parts)

    total = float(sum(p.detach().double().sum() for p in tiny_model.parameters()))
    sources = ["hf:me/pipeline/vae", f"hf:me/pipeline@{COMMIT}/vae", "hf:me/parts"]
    expected = [f"pipeline {total}", f"pipeline {total}", f"parts {total}"]
    assert load_each(hub, tmp_path / "home", sources) == expected
    assert hub.downloads == [
        "me/pipeline/vae/config.json",
        f"me/pipeline/vae/{DIFFUSERS_WEIGHTS}",
        "me/parts/config.json",
        f"me/parts/{INDEX}",
        "me/parts/a-1-of-2.safetensors",
        "me/parts/a-2-of-2.safetensors",
    ]
    offline = load_each(hub, tmp_path / "home", sources, HF_HUB_OFFLINE="1")
    assert offline == expected and len(hub.downloads) == 6


def test_what_a_repository_lacks_is_said(hub: Hub, tiny_model: DCAE, tmp_path: Path) -> None:
    whole = contents(diffusers_folder(tiny_model, tmp_path / "whole"))
    hub.repos["me/pipeline"] = {"model_index.json": b"{}"}
    hub.repos["me/bare"] = {"config.json": whole["config.json"]}
    hub.repos["me/evil"] = {
        "config.json": whole["config.json"],
        INDEX: b'{"weight_map": {"a": "../../x.safetensors"}}',
    }
    hub.repos["me/gated"] = whole
    hub.gated = {"me/gated"}
    sources = ["pipeline", "bare", "evil", "gated", "pipeline/other@main"]
    lines = load_each(hub, tmp_path / "home", [f"hf:me/{name}" for name in sources])
    assert lines[0] == (
        "--model: hf:me/pipeline: the hub has no config.json there; where a pipeline has its "
        "autoencoder in a folder, name that: hf:me/pipeline/vae"
    )
    assert "hf:me/bare: the hub has no model.safetensors or diffusion_pytorch_model" in lines[1]
    assert "names of files in the same folder are expected" in lines[2]
    assert f"ask for access at {hub.url}/me/gated, then log in with" in lines[3]
    assert "hf:me/pipeline/other@main: the hub has no config.json" in lines[4]


def test_weights_in_several_files(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = diffusers_folder(tiny_model, tmp_path / "model")
    split_weights(folder)
    latent = torch.randn(1, 4, 2, 2)
    for path in (folder, folder / INDEX):
        assert torch.equal(read_model(path).decode(latent), tiny_model.decode(latent))

    printed = run(["sh", "-c", "sha256sum *.safetensors | sha256sum"], folder).stdout.split()[0]
    assert weights_sha256(folder / INDEX) == printed
    assert load_teacher(str(folder), printed)[1] == printed
    (folder / "a-2-of-2.safetensors").unlink()
    for load in (read_model, lambda path: load_teacher(str(path), None)):
        with pytest.raises(
            UserError, match=rf"a-2-of-2\.safetensors: not found, but {INDEX} names"
        ):
            load(folder)
    (folder / INDEX).write_text('{"weight_map": []}')
    with pytest.raises(UserError, match=r"index\.json: expected \{'weight_map': \{tensor: file"):
        read_model(folder)
