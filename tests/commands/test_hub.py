"""Models to and from a stand-in of the hub: whole, or a one-line error with its reason."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from dcde.base.paths import EVAL_IMAGES, EVAL_METRICS, PROFILE_COSTS
from dcde.base.results import read_table
from dcde.commands.app import app
from dcde.commands.model_card import LOCK
from dcde.model import DCAE, DecoderConfig
from dcde.model.checkpoint import read_model, save_model
from dcde.prune.shape import narrower_config
from tests.helpers.hub_standin import DROP, Hub, hub_environment, serve
from tests.helpers.tiny import ROOT, randomize, run, tiny_config

DCDE = [sys.executable, "-c", "from dcde.commands.app import app; app()"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture
def pipeline(tmp_path: Path, tiny_model: DCAE) -> Path:
    """A student where the pipeline leaves it, with metrics and parameters."""
    root = tmp_path / "pipeline"
    save_model(tiny_model, root / "models/student")
    for name in (LOCK, EVAL_METRICS, EVAL_IMAGES, PROFILE_COSTS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    return root


def test_what_is_pushed_is_what_is_loaded(hub: Hub, pipeline: Path, tmp_path: Path) -> None:
    env = hub_environment(hub, tmp_path / "home")
    student = str(pipeline / "models/student")
    done = run([*DCDE, "push", "me/student", "--model", student], ROOT, **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/me/student/commit/{'c' * 40}"
    assert set(hub.repos["me/student"]) == {
        *("README.md", "config.json", "diffusion_pytorch_model.safetensors")
    }
    assert hub.tokens == {"Bearer hf_secret"}

    export = ["export", "--format", "safetensors", "--model", "hf:me/student", "--out"]
    done = run([*DCDE, *export, str(tmp_path / "back")], ROOT, **env)
    assert done.returncode == 0, done.stderr
    ours, back = read_model(student), read_model(tmp_path / "back")
    assert back.config == ours.config
    latent = torch.randn(1, 4, 3, 5)
    with torch.no_grad():
        assert torch.equal(back.decode(latent), ours.decode(latent))


FAULTS = {
    401: "it answered 401: log in with `hf auth login` or set HF_TOKEN",
    404: "it answered 404: no such repository or revision, or no access to it",
    500: "it answered 500: a fault of the hub, try again later",
    DROP: "Server disconnected without sending a response.",
}
# One process for all faults, as each start takes seconds.
EACH_FAULT = """
import sys
from dcde.base.errors import UserError
{setup}
for name in sys.argv[1:]:
    try:
        {call}
    except UserError as error:
        print(error)
"""


def faulty(hub: Hub) -> list[str]:
    """A repository for each fault, with which every request about it is answered."""
    hub.faults = {f"fault-{status}": status for status in FAULTS}
    return [f"me/{name}" for name in hub.faults]


def test_faults_of_the_hub_while_pushing(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    names = [*faulty(hub), "me/late"]
    hub.faults["me/late/commit"] = 500
    script = EACH_FAULT.format(
        setup="from pathlib import Path; from dcde.model.hub import upload",
        call=f"upload(Path({str(folder)!r}), name)",
    )
    env = hub_environment(hub, tmp_path / "home")
    done = run([sys.executable, "-c", script, *names, "no/such/name"], ROOT, **env)
    assert done.returncode == 0, done.stderr
    *lines, invalid = done.stdout.splitlines()
    reasons = [*FAULTS.values(), FAULTS[500]]
    assert lines == [
        f"{name}: not pushed to {hub.url}: {reason}"
        for name, reason in zip(names, reasons, strict=True)
    ]
    assert invalid.startswith("no/such/name: not pushed to") and "Repo id must be" in invalid
    assert hub.repos == {"me/late": {}}


def test_faults_of_the_hub_while_loading(hub: Hub, tmp_path: Path) -> None:
    names = [*faulty(hub), "me/unknown"]
    script = EACH_FAULT.format(
        setup="from dcde.model.sources import load_model",
        call="load_model(f'hf:{name}', '--model')",
    )
    env = hub_environment(hub, tmp_path / "home")
    done = run([sys.executable, "-c", script, *names], ROOT, **env)
    assert done.returncode == 0, done.stderr
    reasons = [*FAULTS.values(), FAULTS[404]]
    for line, name, reason in zip(done.stdout.splitlines(), names, reasons, strict=True):
        assert line.startswith(
            f"--model: hf:{name} is not in the hub's cache and can't be downloaded ({reason}); "
            "connect to"
        )


def test_command_fails_in_one_line(hub: Hub, pipeline: Path, tmp_path: Path) -> None:
    hub.faults = {"/api/repos/create": 401}
    student = str(pipeline / "models/student")
    env = hub_environment(hub, tmp_path / "home")
    done = run([*DCDE, "push", "me/student", "--model", student], ROOT, **env)
    assert done.returncode == 1
    assert done.stderr == f"error: me/student: not pushed to {hub.url}: {FAULTS[401]}\n"


def push(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["push", "me/student", *arguments])
    return done.exit_code, done.output


def test_card_of_a_pipelines_student(pipeline: Path, tmp_path: Path) -> None:
    lock = pipeline / LOCK
    text = lock.read_text()
    lock.write_text(text.replace("bundled:dc-ae-f16c16-photos", "hf:owner/teacher@abc/vae"))
    (pipeline / "params.yaml").write_text("prune: {method: of another day}")
    out = tmp_path / "out"
    arguments = ["--model", str(pipeline / "models/student"), "--dry-run", "--out", str(out)]
    assert push(*arguments, "--licence", "mit") == (0, f"{out}\n")
    _, metadata, card = (out / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "base_model": "owner/teacher",
        "library_name": "diffusers",
        "license": "mit",
        "pipeline_tag": "image-to-image",
        "tags": ["dc-ae", "autoencoder"],
    }
    scores = json.loads((pipeline / EVAL_METRICS).read_text())
    assert f"{scores['student']['psnr_db']:.4g}" in card
    assert f"{scores['teacher']['lpips']:.4g}" in card
    costs = {row["model"]: row for row in read_table(pipeline / PROFILE_COSTS)}
    assert f"{int(costs['student']['decoder_params']) / 1e6:.4g} M" in card
    assert f"On {len(read_table(pipeline / EVAL_IMAGES))} images" in card
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    ran = yaml.safe_load(text)["stages"]
    assert recipe["prune"] == ran["prune"]["params"]["params.yaml"]["prune"]
    assert recipe["loss"] == ran["distill"]["params"]["params.yaml"]["loss"]
    assert 'AutoencoderDC.from_pretrained("me/student")' in card
    assert 'load_model("hf:me/student")' in card


def test_card_of_a_model_from_elsewhere_claims_no_figures(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "somewhere/student")
    arguments = ["--model", str(tmp_path / "somewhere/student"), "--dry-run", "--out"]
    code, _ = push(*arguments, str(tmp_path / "out"))
    assert code == 0
    card = (tmp_path / "out/README.md").read_text()
    assert "## Scores" not in card and "## Recipe" not in card and "base_model" not in card
    assert "Not stated" in card


def test_what_diffusers_lacks_is_pushed_in_our_layout(tmp_path: Path) -> None:
    config = tiny_config()
    decoder = DecoderConfig(**{**config.decoder.model_dump(), "norms": ("bn2d",) * 4})
    model = DCAE(config.model_copy(update={"decoder": decoder}))
    randomize(model)
    save_model(model, tmp_path / "model")
    arguments = ["--model", str(tmp_path / "model"), "--dry-run", "--out", str(tmp_path / "out")]
    assert push(*arguments)[0] == 0
    assert read_model(tmp_path / "out").config == model.config
    card = (tmp_path / "out/README.md").read_text()
    assert "can't express this model" in card and "from_pretrained" not in card


def test_card_of_a_model_narrow_inside_tells_how_diffusers_takes_it(tmp_path: Path) -> None:
    model = DCAE(narrower_config(tiny_config(), None, (1, 0.5, 0.5, 0.5)))
    save_model(model, tmp_path / "model")
    arguments = ["--model", str(tmp_path / "model"), "--dry-run", "--out", str(tmp_path / "out")]
    assert push(*arguments)[0] == 0
    assert read_model(tmp_path / "out").config == model.config
    assert (tmp_path / "out/narrow_autoencoder_dc.py").is_file()
    card = (tmp_path / "out/README.md").read_text()
    assert 'AutoModel.from_pretrained("me/student", trust_remote_code=True)' in card
    assert "library_name: diffusers" in card


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--out", "x"]])
def test_dry_run_and_out_go_together(arguments: list[str], in_folder: Path) -> None:
    code, output = push("--model", "bundled:dc-ae-f16c16-photos", *arguments)
    assert code == 1 and "error: --dry-run and --out" in output
    assert not os.listdir(in_folder)
