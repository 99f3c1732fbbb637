"""The pipeline as a user runs it: DVC in a copy of the repository, with small parameters."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, run

from dcde.checkpoint import load_model
from dcde.files import sha256_of
from dcde.presets import read_preset
from dcde.profiling import static_costs

STAGES = {
    "prepare_data",
    "download_networks",
    "download_teacher",
    "prune",
    "distill",
    "eval",
    "profile",
}


def ran(output: str) -> set[str]:
    return {name for name in STAGES if f"Running stage '{name}'" in output}


def dvc(folder: Path, *arguments: str) -> str:
    done = run([sys.executable, "-m", "dvc", *arguments], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    # Progress bars and logs go to stderr; what is asked for with --json is stdout alone.
    return done.stdout if "--json" in arguments else done.stdout + done.stderr


def change_params(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, value in changes.items():
        *sections, last = name.split(".")
        section = params
        for part in sections:
            section = section[part]
        section[last] = value
    path.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, photos: Path, networks: Path) -> Path:
    """A copy of the repository as it is on disk, set to a run of seconds on five photos."""
    folder = tmp_path_factory.mktemp("workspace")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in run(command, ROOT).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for generated in ("dvc.lock", "metrics", "plots"):
        path = folder / generated
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    change_params(
        folder,
        {
            "data.source": str(photos),
            "data.val_fraction": 0.4,
            "data.eval_size": 64,
            "data.eval_crops": 2,
            "distill.epochs": 2,
            "distill.division_epoch": 1,
            "distill.samples_per_epoch": 16,
            "distill.crops.image_size": 64,
            "distill.crops.short_side": [64, 128],
            "distill.crops_per_image": 4,
            "distill.validation_photos": 1,
            "profile.resolutions": [64],
            "profile.runs": 3,
            "runtime.save_minutes": 1e-6,
            "runtime.log_every": 1,
        },
    )
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "copy"]):
        assert run(["git", *arguments], folder).returncode == 0
    for key, value in (("user.name", "test"), ("user.email", "test@example.com")):
        run(["git", "config", key, value], folder)
    assert ran(dvc(folder, "repro")) == STAGES
    run(["git", "add", "-A"], folder)
    run(["git", "commit", "-qm", "results"], folder)
    return folder


def test_repro_leaves_models_metrics_and_pictures(workspace: Path) -> None:
    scores = json.loads((workspace / "metrics/eval.json").read_text())
    for name in ("teacher", "pruned", "student"):
        assert set(scores[name]) == {"psnr_db", "ssim", "lpips", "fd_lite0"}
        load_model(workspace / "models" / name)
    assert scores["images"] == 4
    assert {"psnr_db", "lpips", "psnr_db_recovered"} <= set(scores["gap"])
    for name in ("teacher", "pruned", "student", "gap"):
        low, high = scores["ci95"][name]["lpips"]
        assert low < scores[name]["lpips"] < high
    costs = json.loads((workspace / "metrics/profile.json").read_text())
    assert (
        costs["student"]
        | {
            "decoder_macs": costs["pruned"]["decoder_macs"],
            "decoder_params": costs["pruned"]["decoder_params"],
        }
        == costs["student"]
    )
    assert costs["student"]["decoder_macs"] <= 0.35 * costs["teacher"]["decoder_macs"]
    assert costs["student"]["encoder_params"] == costs["teacher"]["encoder_params"]
    assert costs["student"]["latency_ms_64"] > 0 and costs["device"]
    for way in ("optimized", "diffusers"):
        assert costs["student"][way]["latency_ms_64"] > 0
    assert len(list((workspace / "plots/distill_samples").glob("*.jpg"))) == 2
    assert (workspace / "plots/eval/grid.jpg").is_file()
    assert (workspace / "plots/distill/plots/metrics/loss/total.tsv").is_file()
    assert not list((workspace / ".dcde/distill").iterdir())


def test_eval_command_gives_the_stages_scores(workspace: Path) -> None:
    """On the pipeline's crops, of the student by its folder; the stage measured three at once."""
    out = workspace / ".dcde/scores.json"
    command = [sys.executable, "-c", "from dcde.cli import app; app()", "eval"]
    done = run([*command, "--model", "models/student", "--out", str(out)], workspace)
    assert done.returncode == 0, done.stderr
    stages = json.loads((workspace / "metrics/eval.json").read_text())
    assert json.loads(out.read_text())["models/student"] == pytest.approx(
        stages["student"], rel=1e-4
    )


def test_second_repro_runs_nothing(workspace: Path) -> None:
    assert ran(dvc(workspace, "repro")) == set()


def test_experiment_reruns_distill_and_what_follows(workspace: Path) -> None:
    assert ran(dvc(workspace, "exp", "run", "-S", "loss.gamma=0.3")) == {
        "distill",
        "eval",
        "profile",
    }
    changed = json.loads(dvc(workspace, "metrics", "diff", "--json"))
    assert "student.psnr_db" in changed["metrics/eval.json"]
    assert "pruned.psnr_db" not in changed["metrics/eval.json"]
    assert "loss.gamma" in json.loads(dvc(workspace, "params", "diff", "--json"))["params.yaml"]


def test_experiments_are_shown_on_one_page(workspace: Path) -> None:
    """The commit's own run, then the experiment on it that the test before made."""
    page = workspace / ".dcde/experiments.html"
    command = [sys.executable, "-c", "from dcde.cli import app; app()", "report", "--exps"]
    done = run([*command, "--out", str(page)], workspace)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(), flags=re.DOTALL)[1:]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]
    assert [row[1] for row in cells] == ["", "loss.gamma=0.3"]
    committed = json.loads(run(["git", "show", "HEAD:metrics/eval.json"], workspace).stdout)
    tried = json.loads((workspace / "metrics/eval.json").read_text())
    assert committed["student"] != tried["student"]
    for row, scores in zip(cells, (committed, tried), strict=True):
        assert row[3] == f"{scores['student']['psnr_db']:.2f}"
        assert row[6] == f"{scores['gap']['lpips']:+.4f}"


def test_queued_sweep_runs_and_is_compared(workspace: Path) -> None:
    """One command queues both, a worker in the background runs them, `exp show` has them all."""
    dvc(workspace, "exp", "run", "--queue", "-S", "prune.keep=last,even")
    dvc(workspace, "queue", "start", "-j", "1")
    try:
        deadline = time.monotonic() + 300
        while (status := dvc(workspace, "queue", "status")).count("Success") < 2:
            assert "Failed" not in status and time.monotonic() < deadline, status
            time.sleep(1)
    finally:
        dvc(workspace, "queue", "stop", "--kill")
    table = dvc(workspace, "exp", "show", "--csv").splitlines()
    rows = list(csv.DictReader(line for line in table if "," in line))
    students = {row["prune.keep"]: row["student.psnr_db"] for row in rows if row["Experiment"]}
    assert {"last", "even"} <= students.keys()
    assert len(set(students.values())) == len(students)


def test_plots_show_losses_and_pictures(workspace: Path, tmp_path: Path) -> None:
    dvc(workspace, "plots", "show", "-o", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    curves = ("loss/total", "weight/feature", "lr_discriminator", "validation/lpips")
    for shown in (*curves, "epoch_002.jpg", "grid.jpg"):
        assert shown.replace("/", os.sep) in page or shown.replace("/", "_") in page, shown


def test_killed_repro_continues_to_the_same_student(workspace: Path) -> None:
    change_params(workspace, {"loss.gamma": 0.1, "distill.samples_per_epoch": 64})
    command = [sys.executable, "-m", "dvc", "repro"]
    env = {**os.environ, "PYTHONPATH": str(workspace)}
    states = workspace / ".dcde/distill"
    child = subprocess.Popen(
        command,
        cwd=workspace,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while child.poll() is None and not list(states.glob("*/state.pt")):
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list(states.glob("*/state.pt")), "killed before the first saved state"
    assert not (workspace / "models/student").exists()

    output = dvc(workspace, "repro")
    assert "continuing at epoch" in output
    assert "distill" in ran(output) and "prune" not in ran(output)
    continued = sha256_of(workspace / "models/student/model.safetensors")
    metrics = (workspace / "metrics/eval.json").read_text()

    output = dvc(workspace, "repro", "--force", "--single-item", "distill", "eval")
    assert "continuing" not in output
    assert sha256_of(workspace / "models/student/model.safetensors") == continued
    assert (workspace / "metrics/eval.json").read_text() == metrics


BAD = [
    ("prune", {"prune.depth_list": [0, 1]}, "prune.depth_list: found [0, 1] with 2 entries"),
    (
        "prune",
        {"prune.width_list": [16, 32, 64, 100, 128]},
        "the nearest allowed is [16, 32, 64, 128, 128]",
    ),
    ("prune", {"prune.method": "best"}, "params.yaml: prune.method: found 'best'"),
    ("distill", {"distill.tap": 7}, "params.yaml: distill.tap: found 7"),
    ("prepare_data", {"data.source": "/nowhere"}, "/nowhere: not found, expected a folder"),
    (
        "download_teacher",
        {"teacher.source": "bundled:other"},
        "teacher.source: found 'bundled:other', but bundled are only: dc-ae-f16c16-photos",
    ),
    ("download_teacher", {"teacher.sha256": "0" * 64}, "expected " + "0" * 64),
    (
        "download_networks",
        {"eval.fid": True, "eval.inception_weights": "nowhere.pth"},
        "eval.inception_weights: nowhere.pth: not found",
    ),
    (
        "download_networks",
        {"eval.fid": True, "eval.fid_stats": "nowhere.npz"},
        "nowhere.npz: not found, expected an npz with mu and sigma",
    ),
]


@pytest.mark.parametrize(("stage", "changes", "message"), BAD)
def test_bad_input_is_one_line_and_leaves_outputs_alone(
    workspace: Path, stage: str, changes: dict[str, Any], message: str
) -> None:
    before = (workspace / "params.yaml").read_text()
    models = {p: p.stat().st_mtime_ns for p in (workspace / "models").rglob("*")}
    change_params(workspace, changes)
    try:
        done = run([sys.executable, "-m", f"stages.{stage}"], workspace)
    finally:
        (workspace / "params.yaml").write_text(before)
    errors = done.stderr.splitlines()
    assert done.returncode == 1
    assert errors[-1].startswith("error: ") and message in errors[-1]
    assert "Traceback" not in done.stderr
    assert {p: p.stat().st_mtime_ns for p in (workspace / "models").rglob("*")} == models


def test_influence_ranks_every_block_and_keeps_the_strongest(
    workspace: Path, tmp_path: Path
) -> None:
    """From here on tests leave the workspace's pruned model changed."""
    blocks = read_preset(ROOT / "presets", "tiny-blocks")["prune"]
    change_params(workspace, {f"prune.{key}": value for key, value in blocks.items()})
    change_params(workspace, {"prune.calibration_images": 2})
    done = run([sys.executable, "-m", "stages.prune"], workspace)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((workspace / "metrics/prune.json").read_text())
    assert metrics["depth_list"] == "0,1,2,1,1"
    assert metrics["decoder_macs_share"] <= 0.35
    blocks = metrics["blocks"].values()
    assert len(blocks) == 5 + 10 + 2 + 2
    for stage in range(1, 5):
        changes = {b["block"]: b["output_change"] for b in blocks if b["stage"] == stage}
        kept = {int(place) for place in metrics["kept"][f"stage{stage}"].split(",")}
        dropped = changes.keys() - kept
        assert min(changes[b] for b in kept) >= max(changes[b] for b in dropped)
    with (workspace / "plots/prune/influence.csv").open() as file:
        plotted = {row["block"]: float(row["output_change"]) for row in csv.DictReader(file)}
    assert plotted == {name: block["output_change"] for name, block in metrics["blocks"].items()}
    dvc(workspace, "plots", "show", "-o", str(tmp_path), "plots/prune/influence.csv")
    page = (tmp_path / "index.html").read_text()
    assert all(name in page for name in plotted) and '"field": "output_change"' in page


def test_narrow_student_is_counted_and_its_recalibration_reported(workspace: Path) -> None:
    changes = {
        "prune.keep": None,
        "prune.inner_ratio": [1, 0.5, 0.5, 0.5, 0.5],
        "prune.width_list": [16, 16, 32, 128, 128],
        "prune.channels": "activation",
        "prune.calibration_images": 2,
        "prune.recalibrate": True,
    }
    change_params(workspace, changes)
    done = run([sys.executable, "-m", "stages.prune"], workspace)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((workspace / "metrics/prune.json").read_text())
    assert metrics["inner_widths"] == "16,16,32,256,256"
    assert set(metrics["recalibration"]) == {"psnr_db_before", "psnr_db_after"}
    student, teacher = (load_model(workspace / "models" / n).config for n in ("pruned", "teacher"))
    macs = [static_costs(config, 256)["decoder_macs"] for config in (student, teacher)]
    assert metrics["decoder_macs_share"] == pytest.approx(macs[0] / macs[1], rel=1e-5)
    assert "psnr_db_after " in done.stdout
    assert (workspace / "plots/prune/influence.csv").read_text().count("\n") == 1
    done = run([sys.executable, "-m", "stages.distill"], workspace)
    assert "error: distill.tap: found 3, where the student is 16 channels" in done.stderr
