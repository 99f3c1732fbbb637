"""`dcde eval`: any model, on the pipeline's crops or a folder of images, as the eval stage does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dcde.base.paths import METRIC_NETWORKS
from dcde.commands.app import app
from dcde.data.check import check_images
from dcde.data.crops import eval_crops
from dcde.data.folder import list_images
from dcde.evaluate.evaluate import evaluate
from dcde.metrics.frechet import lite0_network
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from tests.helpers.tiny import randomize, tiny_config

BUNDLED = "bundled:dc-ae-f16c16-photos"


@pytest.fixture
def folder(in_folder: Path, networks: Path) -> Path:
    """An empty folder but for the networks, where the pipeline would have them."""
    Path("models").mkdir()
    METRIC_NETWORKS.symlink_to(networks)
    return in_folder


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["eval", *arguments])
    return done.exit_code, done.output


def row(printed: str, model: str) -> list[float]:
    """The numbers of a model's row in the table."""
    line = next(line for line in printed.splitlines() if line.startswith(f"| {model} "))
    return [float(cell) for cell in line.split("|")[2:-1]]


def test_scores_are_those_of_evaluate_with_each_models_own_encoder(
    folder: Path, photos: Path, networks: Path, tiny_model: DCAE
) -> None:
    other = DCAE(tiny_config())
    randomize(other, seed=1)
    models = {"first": tiny_model, "second": other.eval()}
    for name, model in models.items():
        save_model(model, folder / name)
    arguments = [part for name in models for part in ("--model", name)]
    code, printed = run(*arguments, "--images", str(photos), "--size", "64", "--out", "scores.json")
    assert code == 0, printed
    scores = json.loads(Path("scores.json").read_text())
    assert scores["images"] == 5 and "5 crops of 64 px" in printed
    crops = [eval_crops(p, 64, 1)[0] for p in check_images(list_images(photos))]
    for name, model in models.items():
        result = evaluate(
            {"model": model},
            crops,
            lpips_metric=load_lpips(networks / "lpips_alex.safetensors"),
            networks=[lite0_network(networks / "efficientnet_lite0.safetensors")],
            batch_size=8,
            workers=0,
            device=torch.device("cpu"),
            state_dir=folder / f"{name}_state",
            cache_dir=folder / "references",
        )
        assert result is not None
        direct = result.scores["model"]
        assert scores[name] == pytest.approx(direct, rel=1e-5)
        assert row(printed, name) == pytest.approx(
            [direct[key] for key in ("psnr_db", "ssim", "lpips", "fd_lite0")], rel=1e-3
        )


def test_bundled_model_reconstructs_photos(folder: Path, photos: Path) -> None:
    code, printed = run("--model", BUNDLED, "--images", str(photos), "--size", "128")
    assert code == 0, printed
    assert row(printed, BUNDLED)[0] > 20  # dB


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "nowhere"],
            "--model: found 'nowhere', expected bundled:<name>, hf:<owner>/<name>",
        ),
        (["--model", BUNDLED], "manifest.json: not found; `dvc repro prepare_data` makes it"),
        (
            ["--model", BUNDLED, "--images", "none"],
            "--images: none: not found, expected a folder of images",
        ),
        (
            ["--model", BUNDLED, "--out", "models"],
            "--out: found the folder models, expected",
        ),
    ],
)
def test_bad_arguments_are_named(folder: Path, arguments: list[str], message: str) -> None:
    code, printed = run(*arguments)
    assert code == 1
    assert "error: " in printed and message in printed


def test_crops_that_do_not_fit_the_model_are_refused(folder: Path, photos: Path) -> None:
    code, printed = run("--model", BUNDLED, "--images", str(photos), "--size", "100")
    assert code == 1
    assert f"{BUNDLED}: crops: found 100 pixels, expected a multiple of 16" in printed


def test_networks_come_from_the_users_cache_outside_of_a_pipeline(
    in_folder: Path, networks: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_folder / "cache/dcde").mkdir(parents=True)
    (in_folder / "cache/dcde/metric_networks").symlink_to(networks)
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_folder / "cache"))
    code, printed = run("--model", BUNDLED, "--images", str(photos), "--size", "64")
    assert code == 0, printed
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_folder / "other"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    code, printed = run("--model", BUNDLED, "--images", str(photos), "--size", "64")
    assert code == 1 and "pip can't download it" in printed
    assert not list((in_folder / "other").rglob("*.safetensors"))
