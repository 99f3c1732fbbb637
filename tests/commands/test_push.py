"""`dcde push`: a model and its card on a stand-in of the hub."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dcde.base.paths import EVAL_IMAGES, EVAL_METRICS, PROFILE_COSTS
from dcde.base.results import read_table
from dcde.commands.app import app
from dcde.commands.model_card import LOCK
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.prune.shape import narrower_config
from tests.helpers.distill_run import same_weights
from tests.helpers.hub_standin import COMMIT, Hub, hub_environment
from tests.helpers.tiny import ROOT, random_model, run, tiny_config

DCDE = [sys.executable, "-c", "from dcde.commands.app import app; app()"]


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
    assert done.stdout.strip() == f"{hub.url}/me/student/commit/{COMMIT}"
    names = {"README.md", "config.json", "diffusion_pytorch_model.safetensors"}
    assert set(hub.repos["me/student"]) == names
    assert hub.tokens == {"Bearer hf_secret"}

    export = ["export", "--format", "safetensors", "--model", "hf:me/student", "--out"]
    done = run([*DCDE, *export, str(tmp_path / "back")], ROOT, **env)
    assert done.returncode == 0, done.stderr
    ours, back = read_model(student), read_model(tmp_path / "back")
    assert back.config == ours.config
    assert same_weights(back, ours)


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


def test_card_of_a_model_from_elsewhere_says_how_to_load_it_and_claims_no_figures(
    tmp_path: Path,
) -> None:
    config = narrower_config(tiny_config(), None, (1, 0.5, 0.5, 0.5))
    save_model(random_model(config), tmp_path / "model")
    arguments = ["--model", str(tmp_path / "model"), "--dry-run", "--out", str(tmp_path / "out")]
    assert push(*arguments)[0] == 0
    assert read_model(tmp_path / "out").config == config
    card = (tmp_path / "out/README.md").read_text()
    assert "## Scores" not in card and "## Recipe" not in card and "base_model" not in card
    assert "Not stated" in card
    assert 'AutoModel.from_pretrained("me/student", trust_remote_code=True)' in card
    assert (tmp_path / "out/narrow_autoencoder_dc.py").is_file()


EXPECTED = "expected OWNER/NAME"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("student", f"found 'student', {EXPECTED}"),
        ("me/student/x", f"found 'me/student/x', {EXPECTED}"),
        ("hf:me/student/x", f"found 'hf:me/student/x', {EXPECTED}"),
        ("hf:me/student", "Repo id must use alphanumeric chars"),
        ("me/my student", "Repo id must use alphanumeric chars"),
    ],
)
def test_name_of_the_repository_is_checked_first(name: str, message: str, in_folder: Path) -> None:
    done = CliRunner().invoke(app, ["push", name, "--dry-run", "--out", "x"])
    assert done.exit_code == 1
    assert f"error: REPO: {message}" in done.output
    assert not os.listdir(in_folder)


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--out", "x"]])
def test_dry_run_and_out_go_together(arguments: list[str], in_folder: Path) -> None:
    code, output = push("--model", "bundled:dc-ae-f16c16-photos", *arguments)
    assert code == 1 and "error: --dry-run and --out" in output
    assert not os.listdir(in_folder)
