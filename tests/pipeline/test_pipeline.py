"""The pipeline as a user runs it: DVC in a copy of the repository, with small parameters.

All tests share one run, so their order matters: the last ones change its models.
"""

import csv
import json
import os
import re
import runpy
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcde.base import paths
from dcde.base.results import read_table
from dcde.model.checkpoint import read_model
from tests.helpers.tiny import ROOT, run
from tests.helpers.workspace import (
    STAGES,
    change_params,
    commit,
    copy_repository,
    dcde,
    dvc,
    git,
    identify,
    ran,
)

CLEAN = "Data and pipelines are up to date."


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, photos: Path, networks: Path
) -> tuple[Path, str]:
    """A finished run's folder, and what `dvc repro` printed there."""
    folder = tmp_path_factory.mktemp("finished")
    copy_repository(folder, photos)
    printed = dvc(folder, "repro")
    assert ran(printed) == STAGES
    commit(folder, "results")
    return folder, printed


@pytest.fixture(scope="module")
def workspace(finished: tuple[Path, str]) -> Path:
    return finished[0]


def test_repro_leaves_models_metrics_and_pictures(workspace: Path) -> None:
    scores = json.loads((workspace / paths.EVAL_METRICS).read_text())
    for name in ("teacher", "pruned", "student"):
        assert set(scores[name]) == {"psnr_db", "ssim", "lpips", "fd_lite0"}
        read_model(workspace / "models" / name)
    assert {"psnr_db", "lpips", "psnr_db_recovered"} <= set(scores["gap"])
    for row in read_table(workspace / paths.EVAL_SCORES):
        assert float(row["mean"]) == pytest.approx(scores[row["model"]][row["score"]])
        if row["score"] in ("psnr_db", "ssim", "lpips"):
            assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    assert len(read_table(workspace / paths.EVAL_IMAGES)) == 4

    costs = {row["model"]: row for row in read_table(workspace / paths.PROFILE_COSTS)}
    assert costs["student"] | {"model": "pruned"} == costs["pruned"]
    assert costs["student"]["encoder_params"] == costs["teacher"]["encoder_params"]
    decoding = read_table(workspace / paths.PROFILE_DECODING)
    assert len({(row["model"], row["way"]) for row in decoding}) == 9 == len(decoding)
    assert all(float(row["latency_ms"]) > 0 and row["device"] for row in decoding)

    assert len(list((workspace / paths.DISTILL_SAMPLES).glob("*.jpg"))) == 2
    assert (workspace / paths.EVAL_PLOTS / "grid.jpg").is_file()
    assert (workspace / paths.DISTILL_PLOTS / "plots/metrics/loss/total.tsv").is_file()
    assert not list((workspace / ".dcde/distill").glob("[!.]*"))


COUNTED = {
    "prepare_data": "4 crops of 2 to evaluate",
    "download_teacher": "teacher: bundled:dc-ae-f16c16-photos",
    "prune": "measured on up to 32 photos",
    "distill": "8 steps on 4 crops of 64 px each, in 2 epochs, and 4 crops to validate on",
    "eval": "4 crops of 128 px by 3 models",
    "profile": "3 models at 64 px, 6 runs of each way to decode",
    "report": "4 pictures by 3 models",
}


def test_a_stage_says_what_it_will_do_and_what_it_wrote(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    for stage, declared in yaml.safe_load((folder / "dvc.yaml").read_text())["stages"].items():
        said = printed.partition(f"\n{stage}: {declared['desc']}\n")[2].partition("Running stage")
        assert COUNTED.get(stage, "") in said[0]
        outs = [out if isinstance(out, str) else next(iter(out)) for out in declared["outs"]]
        wrote = rf"^{stage}: wrote {', '.join(outs)} in 0:\d\d:\d\d$"
        assert re.search(wrote, said[0], re.MULTILINE)


def test_report_shows_the_run(workspace: Path) -> None:
    page = (workspace / paths.REPORT).read_text()
    scores = json.loads((workspace / paths.EVAL_METRICS).read_text())
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]
    by_name = {row[0]: row for row in cells[:5]}
    for name in ("teacher", "pruned", "student"):
        assert by_name[name][4].startswith(f"{scores[name]['psnr_db']:.4g}\n[")
    ratio = json.loads((workspace / paths.PROFILE_METRICS).read_text())["student"][
        "latency_over_teacher"
    ]
    assert by_name["student"][3] == f"{ratio:.2f}"
    assert sum(row[1:2] == ["optimized"] for row in cells) == 3
    assert page.count("data:image/webp") == 4 * 4  # 4 crops, each once
    assert "validation/lpips" in page and "division_epoch: 1" in page


def test_eval_command_gives_the_stages_scores(workspace: Path) -> None:
    """On the pipeline's crops, of the student by its folder; the stage measured three at once."""
    out = workspace / ".dcde/scores.json"
    done = dcde(workspace, "eval", "--model", "models/student", "--out", str(out))
    assert done.exit_code == 0, done.output
    stages = json.loads((workspace / paths.EVAL_METRICS).read_text())
    assert json.loads(out.read_text())["models/student"] == pytest.approx(
        stages["student"], rel=1e-4
    )


def test_plots_show_losses_and_pictures(workspace: Path, tmp_path: Path) -> None:
    dvc(workspace, "plots", "show", "-o", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    curves = ("loss/total", "weight/feature", "validation/lpips")
    for shown in (*curves, "epoch_002.jpg", "grid.jpg"):
        assert shown.replace("/", os.sep) in page or shown.replace("/", "_") in page, shown


def test_check_says_what_dvc_would_run_and_which_photo_changed(
    workspace: Path, photos: Path
) -> None:
    assert "to run    nothing has changed\n" in dcde(workspace, "check").output
    photo = photos / "rocket.jpg"
    before = photo.stat()
    os.utime(photo, (0, 0))
    done = dcde(workspace, "check")
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done.exit_code == 1 and "rocket.jpg has changed since" in done.output


@pytest.fixture(scope="module")
def tried(workspace: Path) -> Path:
    """The finished run, and an experiment on it."""
    output = dvc(workspace, "exp", "run", "-S", "loss.gamma=0.3", "--name", "idea")
    assert ran(output) == {"distill", "eval", "profile", "report"}
    return workspace


def test_an_experiments_metrics_say_what_it_bought(tried: Path) -> None:
    """As rows that a person reads: what the idea can change, and the one ratio that is measured."""
    changed = json.loads(dvc(tried, "metrics", "diff", "--json"))
    rows = {key for file in changed.values() for key in file}
    scores = {f"student.{s}" for s in ("psnr_db", "ssim", "lpips", "fd_lite0")}
    gaps = {f"gap.{s}" for s in ("psnr_db", "ssim", "lpips", "fd_lite0")}
    recovered = {"gap.psnr_db_recovered", "gap.lpips_recovered"}
    assert {"student.psnr_db", "gap.lpips"} <= rows
    assert rows <= scores | gaps | recovered | {"student.latency_over_teacher"}


def test_table_of_experiments_fits_a_screen(tried: Path) -> None:
    """With the tutorial's options: what was changed and the scores."""
    options = ("--only-changed", "--drop", ".*/.*|.*yaml|gap")
    shown = dvc(tried, "exp", "show", *options, "--no-pager", NO_COLOR="1", COLUMNS="500")
    lines = [line.rstrip() for line in shown.splitlines() if "Experiment" in line or "idea" in line]
    assert "student.lpips" in lines[0] and "loss.gamma" in lines[0] and len(lines) == 2
    assert max(map(len, lines)) <= 160


def test_experiments_are_shown_on_one_page(tried: Path) -> None:
    """The commit's own run, then the experiment on it."""
    page = tried / ".dcde/experiments.html"
    assert dcde(tried, "experiments", "--out", str(page)).exit_code == 0
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(), flags=re.DOTALL)[1:]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]
    assert [row[1] for row in cells] == ["", "loss.gamma=0.3"]
    committed = json.loads(git(tried, "show", f"HEAD:{paths.EVAL_METRICS}"))
    experiment = json.loads((tried / paths.EVAL_METRICS).read_text())
    assert committed["student"] != experiment["student"]
    for row, scores in zip(cells, (committed, experiment), strict=True):
        assert row[3] == f"{scores['student']['psnr_db']:.2f}"
        assert row[6] == f"{scores['gap']['lpips']:+.4f}"


def forget_changes(folder: Path) -> None:
    """Go back to the commit, without the files that it does not have."""
    git(folder, "reset", "-q", "--hard")
    git(folder, "clean", "-qfd")


def test_apply_and_checkout_bring_results_back(tried: Path) -> None:
    experiment = (tried / paths.EVAL_METRICS).read_text()
    forget_changes(tried)
    dvc(tried, "checkout")
    assert CLEAN in dvc(tried, "status")
    assert (tried / paths.EVAL_METRICS).read_text() != experiment
    dvc(tried, "exp", "apply", "idea")
    assert (tried / paths.EVAL_METRICS).read_text() == experiment
    assert CLEAN in dvc(tried, "status")
    forget_changes(tried)
    dvc(tried, "checkout")


def test_a_new_clone_pulls_a_run_and_stays_clean(tried: Path, tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    dvc(tried, "remote", "add", "-d", "shared", str(remote))
    commit(tried, "remote")
    dvc(tried, "push")
    assert run(["git", "clone", "-q", str(tried), str(clone)], tmp_path).returncode == 0
    identify(clone)
    dvc(clone, "pull")
    assert ran(dvc(clone, "repro")) == set()
    dvc(clone, "repro", "--force", "--single-item", "report")  # the page depends on results alone
    assert git(clone, "status", "--porcelain") == ""
    assert ran(dvc(clone, "exp", "run", "-S", "runtime.workers=0")) == {"report"}


@pytest.mark.slow
def test_two_workers_run_a_queued_sweep_on_the_same_new_crops(
    tried: Path, request: pytest.FixtureRequest
) -> None:
    """They share the folder of caches, where both need crops that are not there yet.

    The launcher has a value with `=` and a blank, which needs quotes inside the quotes.
    """
    request.addfinalizer(lambda: dvc(tried, "queue", "stop", "--kill"))
    change_params(tried, {"seed": 1})
    commit(tried, "other crops")
    launcher = 'launcher="env OMP_NUM_THREADS=1 python"'
    dvc(tried, "exp", "run", "--queue", "-S", "prune.method=last,gap", "-S", launcher)
    dvc(tried, "queue", "start", "-j", "2")
    deadline = time.monotonic() + 600
    while (status := dvc(tried, "queue", "status")).count("Success") < 2:
        assert "Failed" not in status and time.monotonic() < deadline, status
        time.sleep(8)  # asking takes seconds of a core, which the workers need
    table = dvc(tried, "exp", "show", "--csv").splitlines()
    rows = list(csv.DictReader(line for line in table if "," in line))
    students = {row["prune.method"]: row["student.psnr_db"] for row in rows if row["Experiment"]}
    assert {"last", "gap"} <= students.keys()
    assert len(set(students.values())) == len(students)
    assert len(list((tried / ".dcde/latents").glob("[!.]*"))) == 4  # of two seeds, two each


def stage(name: str) -> None:
    """Run a stage here, in this process."""
    runpy.run_module(f"stages.{name}", run_name="__main__")


def error(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a stage that must fail; return the only line that it prints as an error."""
    with pytest.raises(SystemExit) as ended:
        stage(name)
    assert ended.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ") and not any("Traceback" in line for line in said)
    return said[-1]


@pytest.mark.parametrize("name", ["prune", "distill", "eval", "profile", "report"])
def test_a_stage_without_its_inputs_says_what_is_missing(
    name: str, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / file, in_folder)
    assert re.fullmatch(r"error: \S+: not found.*", error(name, capsys))


BAD = [
    ("prepare_data", {"data.source": "/nowhere"}, "/nowhere: not found, expected a folder"),
    ("download_teacher", {"teacher.source": "bundled:no"}, "teacher.source: found 'bundled:no'"),
    (
        "download_metric_networks",
        {"eval.fid": True, "eval.inception_weights": "nowhere.pth"},
        "eval.inception_weights: nowhere.pth: not found",
    ),
    ("prune", {"data.eval_size": 100}, "data.eval_size: found 100 pixels"),
    ("profile", {"profile.resolutions": [64, 100]}, "profile.resolutions: found 100 pixels"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD)
def test_bad_input_is_one_line_and_leaves_outputs_alone(
    workspace: Path,
    name: str,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(workspace)
    before = Path("params.yaml").read_text()
    models = {p: p.stat().st_mtime_ns for p in Path("models").rglob("*")}
    change_params(workspace, changes)
    assert message in error(name, capsys)
    assert {p: p.stat().st_mtime_ns for p in Path("models").rglob("*")} == models
    Path("params.yaml").write_text(before)


def test_a_student_cut_in_all_ways_is_counted_and_its_repair_reported(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    changes = {
        "prune.method": "influence",
        "prune.depth_list": [0, 2, 4, 2, 2],
        "prune.inner_ratio": [1, 0.5, 0.5, 0.5, 0.5],
        "prune.width_list": [16, 16, 32, 128, 128],
        "prune.channels": "rebuild",
        "prune.calibration_images": 2,
        "prune.repair": True,
    }
    change_params(workspace, changes)
    stage("prune")
    rows = read_table(paths.PRUNE_PLOTS / "stages.csv")
    assert [len(row["kept_blocks"].split()) for row in rows] == [0, 2, 4, 2, 2]
    assert [int(row["inner_width"]) for row in rows] == [16, 16, 32, 256, 256]
    assert [int(row["width"]) for row in rows] == [16, 16, 32, 128, 128]
    assert len(read_table(paths.PRUNE_PLOTS / "influence.csv")) == 5 + 10 + 2 + 2
    metrics = json.loads(paths.PRUNE_METRICS.read_text())
    assert metrics.keys() == {"decoder_macs_share", "cut", "repaired"}
    assert metrics["repaired"]["psnr_db"] > metrics["cut"]["psnr_db"] + 1
    assert metrics["repaired"]["lpips"] < metrics["cut"]["lpips"]
    assert 0 < metrics["decoder_macs_share"] < 0.3
    expected = "error: distill.tap: found 'act', where the student is 16 channels"
    assert error("distill", capsys).startswith(expected)
