"""`dcde eval`: any model, on the pipeline's crops or a folder of images, as the eval stage does."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcde.base.paths import METRIC_NETWORKS
from dcde.commands.app import app
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from tests.helpers.tiny import SKIMAGE_DATA, random_model, tiny_config

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
    save_model(random_model(tiny_config(), seed=1), folder / "second")
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
        (["--model", "nowhere"], "--model: found 'nowhere', expected bundled:<name>, hf:<owner>"),
        (["--model", BUNDLED], "manifest.json: not found; `dvc repro prepare_data` makes it"),
        (["--model", BUNDLED, "--images", "none"], "--images: none: not found, expected a folder"),
        (["--model", BUNDLED, "--out", "models"], "--out: found the folder models, expected"),
        (
            ["--model", BUNDLED, "--images", str(SKIMAGE_DATA), "--size", "100"],
            f"{BUNDLED}: --size: found 100 pixels, expected a multiple of 16",
        ),
        (["--model", BUNDLED, "--size", "64"], "--size: found 64, expected --images with it"),
    ],
)
def test_bad_arguments_are_named(folder: Path, arguments: list[str], message: str) -> None:
    code, printed = run(*arguments)
    assert code == 1
    assert "error: " in printed and message in printed
