"""The work folder: what a run's name is made of, locks, and room on the disk."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcde.autoencode.start import start_config
from dcde.base.errors import UserError
from dcde.base.processes import shared_run
from dcde.base.work import locked, stage_key
from dcde.data.folder import list_images
from dcde.metrics.frechet import check_fid_files
from dcde.model.sources import find_model
from tests.helpers.tiny import ROOT
from tests.helpers.workspace import change_params


@pytest.mark.parametrize(
    "use",
    [
        lambda path: list_images(path, "data.source"),
        lambda path: find_model(str(path), "teacher.source"),
        lambda path: start_config(str(path)),
        lambda path: check_fid_files(path, None, 256),
        lambda path: check_fid_files(None, path, 256),
    ],
)
def test_what_an_experiment_left_behind_is_named(
    use: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC runs those of --temp and --queue in a copy of what git and DVC track."""
    for name in ("repository/mine/x", "copy"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    there = rf"; {tmp_path}/repository/mine/x exists, but .* \(--temp, --queue\) has only tracked"
    with pytest.raises(UserError, match=there):
        use(Path("mine/x"))
    for missing in (Path("other/x"), tmp_path / "other/x"):
        with pytest.raises(UserError) as error:
            use(missing)
        assert "--temp" not in str(error.value)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """The repository's code and declarations, with small files for data and models."""
    for name in ("dcde", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("data/photos/manifest.json", "models/metric_networks/lpips_alex.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in ("teacher", "pruned"):
        (tmp_path / f"models/{name}").mkdir()
        (tmp_path / f"models/{name}/model.safetensors").write_text(name)
    return tmp_path / "dvc.yaml"


DEPS = (
    *("stages/distill.py", "dcde/train/losses.py", "dcde/metrics/lpips.py"),
    *("models/pruned/model.safetensors", "data/photos/manifest.json"),
)
OTHERS = ("dcde/report/page.py", "dcde/metrics/frechet.py", "dcde/train/__pycache__/losses.pyc")


def test_a_run_is_named_after_what_dvc_tracks(pipeline: Path) -> None:
    root, name = pipeline.parent, stage_key("distill", pipeline)
    for other in OTHERS:
        (root / other).parent.mkdir(exist_ok=True)
        (root / other).write_text("# a comment")
    change_params(root, {"runtime.workers": 2, "eval.fid": True})
    assert stage_key("distill", pipeline) == name
    names = {name}
    for dep in DEPS:
        (root / dep).write_text("# a comment")
        names.add(stage_key("distill", pipeline))
    change_params(root, {"loss.gamma": 0.5})
    names.add(stage_key("distill", pipeline))
    assert len(names) == 1 + len(DEPS) + 1


HOLD = """
import sys, time
from pathlib import Path
from dcde.base.work import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_is_refused_while_another_process_is_at_it(tmp_path: Path) -> None:
    """The lock goes with the process that held it, killed or not."""
    folder = tmp_path / "distill" / "abc"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match="abc: another process is working on this run"),
        shared_run(folder),
    ):
        pass
    child.kill()
    child.wait()
    with shared_run(folder), locked(folder.with_name("other"), busy="no"):
        pass
