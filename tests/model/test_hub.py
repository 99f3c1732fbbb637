"""Models on a stand-in of the hub: only what is read is downloaded, and faults are one line."""

import json
import sys
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.model.weights import DIFFUSERS_WEIGHTS
from tests.helpers.distill_run import same_weights
from tests.helpers.hub_standin import COMMIT, DROP, Hub, hub_environment
from tests.helpers.tiny import ROOT, run

HALF = "diffusion_pytorch_model.fp16.safetensors"


def diffusers_folder(model: DCAE, folder: Path) -> Path:
    """Save a model as others publish it: without our name in it."""
    save_model(model, folder, "diffusers")
    config = json.loads((folder / "config.json").read_text())
    del config["_dcde_name"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def contents(folder: Path, under: str = "") -> dict[str, bytes]:
    return {under + file.name: file.read_bytes() for file in folder.iterdir()}


# One process for many sources, as each start takes seconds.
EACH = """
import sys
from pathlib import Path
from dcde.base.errors import UserError
from dcde.model.hub import upload
from dcde.model.sources import load_model
for source in sys.argv[1:]:
    try:
        if source.startswith("push:"):
            print(upload(Path("repository"), source.removeprefix("push:")))
        else:
            model = load_model(source, "--model")
            print(model.config.name, float(sum(p.double().sum() for p in model.parameters())))
    except UserError as error:
        print(error)
"""


def each(hub: Hub, folder: Path, sources: list[str], **extra: str) -> list[str]:
    env = hub_environment(hub, folder / "home") | {"PYTHONPATH": str(ROOT)} | extra
    done = run([sys.executable, "-c", EACH, *sources], folder, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_only_what_is_read_is_downloaded(hub: Hub, tiny_model: DCAE, tmp_path: Path) -> None:
    whole = diffusers_folder(tiny_model, tmp_path / "whole")
    variants = {
        f"vae/diffusion_pytorch_model.{kind}": b"not read" for kind in ("fp16.safetensors", "bin")
    }
    hub.repos["me/pipeline"] = {"model_index.json": b"{}", **contents(whole, "vae/"), **variants}
    hub.repos["me/whole"] = contents(whole) | {"vae/config.json": b"not read"}
    hub.repos["me/half"] = {
        HALF if name == DIFFUSERS_WEIGHTS else name: content
        for name, content in hub.repos["me/whole"].items()
    } | {"diffusion_pytorch_model.fp16.bin": b"not read"}

    total = float(sum(p.detach().double().sum() for p in tiny_model.parameters()))
    sources = ["hf:me/pipeline/vae", f"hf:me/pipeline@{COMMIT}/vae", "hf:me/whole", "hf:me/half"]
    expected = [f"{name} {total}" for name in ("pipeline", "pipeline", "whole", "half")]
    assert each(hub, tmp_path, sources) == expected
    assert sorted(hub.downloads) == sorted(
        [
            *(f"me/pipeline/vae/{name}" for name in ("config.json", DIFFUSERS_WEIGHTS)),
            *(f"me/whole/{name}" for name in ("config.json", DIFFUSERS_WEIGHTS)),
            *(f"me/half/{name}" for name in ("config.json", HALF)),
        ]
    )
    hub.downloads.clear()
    missing, *offline = each(hub, tmp_path, ["hf:me/other", *sources], HF_HUB_OFFLINE="1")
    assert offline == expected and not hub.downloads
    assert missing.startswith("--model: hf:me/other is not in the hub's cache")
    assert "hf download me/other" in missing


def test_a_variant_is_read_where_there_is_nothing_else(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = diffusers_folder(tiny_model, tmp_path / "half")
    (folder / DIFFUSERS_WEIGHTS).rename(folder / HALF)
    for path in (folder, folder / HALF):
        assert same_weights(read_model(path), tiny_model)
    (folder / HALF.replace("fp16", "bf16")).touch()
    with pytest.raises(UserError, match=r"half: found .*bf16.*, .*fp16.*, or the name of one file"):
        read_model(folder)


FAULTS = {
    401: "it answered 401: log in with `hf auth login` or set HF_TOKEN",
    404: "it answered 404: no such repository or revision, or no access to it",
    500: "it answered 500",
    DROP: "Server disconnected without sending a response.",
}


def test_faults_while_loading_and_pushing(hub: Hub, tiny_model: DCAE, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/README.md").write_text("---\nlicense: mit\n---\n")
    hub.faults = {f"fault-{status}": status for status in FAULTS} | {"me/late/commit": 500}
    names = [f"me/fault-{status}" for status in FAULTS]
    expected = [
        f"--model: hf:{name} is not in the hub's cache and can't be downloaded ({reason})"
        for name, reason in zip(
            [*names, "me/unknown"], [*FAULTS.values(), FAULTS[404]], strict=True
        )
    ]
    expected += [
        f"{name}: not pushed to {hub.url}: {reason}"
        for name, reason in zip([*names, "me/late"], [*FAULTS.values(), FAULTS[500]], strict=True)
    ]
    expected.append(f"no/such/name: not pushed to {hub.url}: Repo id must be")
    sources = [f"hf:{name}" for name in (*names, "me/unknown")]
    sources += [f"push:{name}" for name in (*names, "me/late", "no/such/name")]
    for line, start in zip(each(hub, tmp_path, sources), expected, strict=True):
        assert line.startswith(start)
    assert hub.repos == {"me/late": {}}


def test_what_a_repository_lacks_is_named(hub: Hub, tiny_model: DCAE, tmp_path: Path) -> None:
    whole = contents(diffusers_folder(tiny_model, tmp_path / "whole"))
    config = {"config.json": whole["config.json"]}
    hub.repos = {
        "me/pipeline": {"model_index.json": b"{}"},
        "me/bare": config,
    }
    sources = ["pipeline", "bare", "pipeline/other@main"]
    lines = each(hub, tmp_path, [f"hf:me/{name}" for name in sources])
    assert lines[0] == (
        "--model: hf:me/pipeline: found no config.json there; if a pipeline has its autoencoder in "
        "a folder, name that: hf:me/pipeline/vae"
    )
    assert "found no weights, expected model.safetensors or diffusion_pytorch_model" in lines[1]
    assert "hf:me/pipeline/other@main: found no config.json" in lines[2]
