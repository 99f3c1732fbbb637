"""`dcde check`: what a run will be, and what would stop it, before anything is done."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dcde.commands.app import app
from tests.helpers.tiny import ROOT
from tests.helpers.workspace import change_params


@pytest.fixture
def workplace(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """params.yaml alone, as DVC would have it checked."""
    monkeypatch.setenv("DVC_ROOT", str(in_folder))
    shutil.copy(ROOT / "params.yaml", in_folder)
    return in_folder


def check(folder: Path, changes: dict[str, Any] | None = None) -> tuple[int, str]:
    change_params(folder, changes or {})
    done = CliRunner().invoke(app, ["check"])
    return done.exit_code, done.output


def test_the_committed_run(workplace: Path) -> None:
    code, said = check(workplace)
    assert code == 0
    topics = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert topics["photos"] == "57 to train on, 15 to evaluate on"
    assert topics["teacher"] == "dc-ae-f16c16-photos, 6.062 GMACs to decode 256 px"
    assert topics["student"] == "blocks [0, 3, 6, 2, 2], 30.0% of the teacher's MACs"
    assert topics["training"].endswith("4 epochs of 600 crops of 128 px in batches of 4: 600 steps")
    # 53 photos have 16 crops each: fewer than 4 epochs draw.
    assert topics["cache"].startswith("848 crops will take 45.2 MB in ")
    assert [path.name for path in workplace.iterdir()] == ["params.yaml"]


def test_a_folder_and_a_teacher_that_is_not_there_yet(workplace: Path, photos: Path) -> None:
    changes: dict[str, Any] = {"data.source": str(photos), "data.val_fraction": 0.4}
    changes |= {"distill.validation_photos": 1, "prune.depth_list": [0, 4, 8, 2, 2, 2]}
    changes |= {"prune.repair": False, "prune.channels": "gap"}
    changes |= {"prune.inner_ratio": [1] + [0.25] * 5}
    source = {"teacher.source": "hf:mit-han-lab/dc-ae-f32c32-in-1.0"}
    code, said = check(workplace, changes | source)
    assert code == 0, said
    assert "3 to train on, 2 to evaluate on" in said
    assert "dc-ae-f32c32-in-1.0, 346.2 GMACs to decode 256 px" in said
    code, said = check(workplace, {"teacher.source": "hf:me/new"})
    assert code == 0 and "hf:me/new, unknown until it is downloaded" in said


MANY = {"distill.samples_per_epoch": 10**15, "distill.crops_per_image": 10**15}
FEW = {"prune.calibration_images": 1, "data.eval_size": 32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.source": "nowhere"},
            "data.source: nowhere: not found, expected a folder of images",
        ),
        ({"data.eval_size": 250}, "data.eval_size: found 250 pixels, expected a multiple of 16"),
        ({"profile.resolutions": [100]}, "profile.resolutions: found 100 pixels"),
        ({"distill.crops.image_size": 120}, "distill.crops.image_size: found 120 pixels"),
        ({"teacher.source": "nowhere"}, "teacher.source: found 'nowhere', expected bundled:<name>"),
        ({"prune.depth_list": [1, 1]}, "found [1, 1] with 2 entries, expected 5"),
        ({"prune.start": "models/student"}, "prune.start: found models/student, which this"),
        ({"teacher.source": "models/student"}, "teacher.source: found models/student, which this"),
        ({"teacher.source": "hf:name"}, "teacher.source: hf:name: expected hf:<owner>/<name>"),
        (
            {"data.eval_size": 8192},
            "data.eval_size: found 8192; input should be less than or equal",
        ),
        ({"optimizer.eta_min": 1.0}, "optimizer: eta_min: found 1, expected at most lr (0.001)"),
        (FEW, "prune.calibration_images: found 1 of 32 px"),
        (FEW | {"prune.repair": False}, "prune.calibration_images: found 1 of 32 px"),
        ({"distill.batch_size": 601}, "found 601, expected at most the 600 samples"),
        ({"distill.validation_photos": 57}, "found 57, expected less than the 57 training photos"),
        (MANY, "the disk has"),
        ({"launcher": "acelerate launch"}, "no program 'acelerate' in PATH; expected python"),
        ({"distill.nothing": 1}, "params.yaml: distill.nothing: unknown parameter"),
    ],
)
def test_what_would_stop_a_run(workplace: Path, changes: dict[str, Any], message: str) -> None:
    code, said = check(workplace, changes)
    assert code == 1 and said.splitlines()[-1].startswith("error: ")
    assert message in said.splitlines()[-1]


@pytest.mark.parametrize("name", [".dcde", "data", "models", "metrics", "plots"])
def test_a_place_that_can_not_be_written_is_named(workplace: Path, name: str) -> None:
    place = workplace / name
    place.touch()
    expected = f"error: the run: can't write in {place} (Not a directory)\n"
    assert check(workplace) == (1, expected)


def test_files_for_fid_are_looked_at(workplace: Path) -> None:
    (workplace / "stats.npz").write_bytes(b"nothing")
    changes: dict[str, Any] = {"eval.fid": True, "eval.inception_weights": "gone.pth"}
    assert "error: eval.inception_weights: gone.pth: not found" in check(workplace, changes)[1]
    changes["eval.inception_weights"] = "params.yaml"
    assert "error: eval.inception_weights: params.yaml: not " in check(workplace, changes)[1]
    changes = {"eval.inception_weights": None, "eval.fid_stats": "stats.npz"}
    assert "error: stats.npz: not a whole npz file" in check(workplace, changes)[1]


def test_parameters_of_the_other_pipeline_are_named(workplace: Path) -> None:
    shutil.copy(ROOT / "autoencoder/params.yaml", workplace / "params.yaml")
    code, said = check(workplace)
    assert code == 1 and "error: params.yaml: found the parameters of autoencoder/" in said
