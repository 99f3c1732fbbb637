"""The pipeline as a user runs it: DVC in a copy of the repository, with small parameters."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcde.base.paths import (
    DISTILL_PLOTS,
    DISTILL_SAMPLES,
    EVAL_IMAGES,
    EVAL_METRICS,
    EVAL_PLOTS,
    EVAL_SCORES,
    PROFILE_COSTS,
    PROFILE_DECODING,
    PROFILE_METRICS,
    PRUNE_METRICS,
    PRUNE_PLOTS,
    REPORT,
)
from dcde.base.results import read_table
from dcde.commands.preset import read_preset
from dcde.model.checkpoint import read_model
from tests.helpers.tiny import ROOT, run
from tests.helpers.workspace import STAGES, change_params, dcde, dvc, ran


def test_repro_leaves_models_metrics_and_pictures(workspace: Path) -> None:
    scores = json.loads((workspace / EVAL_METRICS).read_text())
    for name in ("teacher", "pruned", "student"):
        assert set(scores[name]) == {"psnr_db", "ssim", "lpips", "fd_lite0"}
        read_model(workspace / "models" / name)
    assert {"psnr_db", "lpips", "psnr_db_recovered"} <= set(scores["gap"])
    for row in read_table(workspace / EVAL_SCORES):
        assert float(row["mean"]) == pytest.approx(scores[row["model"]][row["score"]])
        if row["score"] in ("psnr_db", "ssim", "lpips"):
            assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    assert len(read_table(workspace / EVAL_IMAGES)) == 4

    costs = {row["model"]: row for row in read_table(workspace / PROFILE_COSTS)}
    assert costs["student"] | {"model": "pruned"} == costs["pruned"]
    assert costs["student"]["encoder_params"] == costs["teacher"]["encoder_params"]
    decoding = read_table(workspace / PROFILE_DECODING)
    ways = {(row["model"], row["way"]) for row in decoding}
    assert len(ways) == 9 == len(decoding)
    assert all(float(row["latency_ms"]) > 0 and row["device"] for row in decoding)

    assert len(list((workspace / DISTILL_SAMPLES).glob("*.jpg"))) == 2
    assert (workspace / EVAL_PLOTS / "grid.jpg").is_file()
    assert (workspace / DISTILL_PLOTS / "plots/metrics/loss/total.tsv").is_file()
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
"""What stages say of the finished run that can be counted beforehand."""


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_says_what_it_will_do_and_what_it_wrote(finished_run: Path, stage: str) -> None:
    printed = finished_run.with_suffix(".printed").read_text()
    declared = yaml.safe_load((finished_run / "dvc.yaml").read_text())["stages"][stage]
    start, _, rest = printed.partition(f"\n{stage}: {declared['desc']}\n")
    assert (f"Running stage '{stage}'" in start and "Running stage" in rest) or stage == "report"
    said = rest.partition("Running stage")[0]
    assert COUNTED.get(stage, "") in said
    outs = [out if isinstance(out, str) else next(iter(out)) for out in declared["outs"]]
    assert re.search(rf"^{stage}: wrote {', '.join(outs)} in 0:\d\d:\d\d$", said, re.MULTILINE)


def test_metrics_are_few_and_hold_no_timing_but_one_ratio(workspace: Path) -> None:
    shown = json.loads(dvc(workspace, "metrics", "show", "--json"))[""]["data"]
    rows = {
        f"{part}.{key}" if isinstance(value, dict) else part
        for file in shown.values()
        for part, value in file["data"].items()
        for key in (value if isinstance(value, dict) else [part])
    }
    assert len(rows) <= 30
    timed = {
        row for row in rows if any(word in row for word in ("_ms", "latency", "per_s", "_mib"))
    }
    assert timed == {"student.latency_over_teacher"}


def test_report_shows_the_run(workspace: Path) -> None:
    page = (workspace / REPORT).read_text()
    scores = json.loads((workspace / EVAL_METRICS).read_text())
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]
    by_name = {row[0]: row for row in cells[:5]}
    for name in ("teacher", "pruned", "student"):
        assert by_name[name][4].startswith(f"{scores[name]['psnr_db']:.4g}\n[")
    ratio = json.loads((workspace / PROFILE_METRICS).read_text())["student"]["latency_over_teacher"]
    assert by_name["student"][3] == f"{ratio:.2f}"
    assert sum(row[1:2] == ["optimized"] for row in cells) == 3
    assert page.count("data:image/webp") == 4 * 4  # 4 crops, each once
    assert "validation/lpips" in page and "division_epoch: 1" in page


def test_eval_command_gives_the_stages_scores(workspace: Path) -> None:
    """On the pipeline's crops, of the student by its folder; the stage measured three at once."""
    out = workspace / ".dcde/scores.json"
    dcde(workspace, "eval", "--model", "models/student", "--out", str(out))
    stages = json.loads((workspace / EVAL_METRICS).read_text())
    assert json.loads(out.read_text())["models/student"] == pytest.approx(
        stages["student"], rel=1e-4
    )


def test_second_repro_runs_nothing(workspace: Path) -> None:
    assert ran(dvc(workspace, "repro")) == set()


def test_plots_show_losses_and_pictures(workspace: Path, tmp_path: Path) -> None:
    dvc(workspace, "plots", "show", "-o", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    curves = ("loss/total", "weight/feature", "validation/lpips")
    for shown in (*curves, "epoch_002.jpg", "grid.jpg"):
        assert shown.replace("/", os.sep) in page or shown.replace("/", "_") in page, shown


BAD = [
    ("prune", {"prune.depth_list": [0, 1]}, "prune.depth_list: found [0, 1] with 2 entries"),
    (
        "prune",
        {"prune.width_list": [16, 32, 64, 100, 128]},
        "the nearest allowed is [16, 32, 64, 128, 128]",
    ),
    (
        "prune",
        {"data.eval_size": 100},
        "data.eval_size: found 100 pixels, expected a multiple of 16 for "
        "dc-ae-f16c16-photos, such as 96",
    ),
    ("profile", {"profile.resolutions": [64, 100]}, "profile.resolutions: found 100 pixels"),
    ("prune", {"prune.method": "best"}, "params.yaml: prune.method: found 'best'"),
    ("distill", {"distill.tap": 7}, "params.yaml: distill.tap: found 7"),
    ("prepare_data", {"data.source": "/nowhere"}, "/nowhere: not found, expected a folder"),
    (
        "download_teacher",
        {"teacher.source": "bundled:other"},
        "teacher.source: found 'bundled:other', expected bundled:<name> with dc-ae-f16c16-photos",
    ),
    (
        "download_metric_networks",
        {"eval.fid": True, "eval.inception_weights": "nowhere.pth"},
        "eval.inception_weights: nowhere.pth: not found",
    ),
    (
        "download_metric_networks",
        {"eval.fid": True, "eval.fid_stats": "nowhere.npz"},
        "nowhere.npz: not found, expected an npz with mu and sigma",
    ),
]


@pytest.mark.parametrize("stage", ["prune", "distill", "eval", "profile", "report"])
def test_a_stage_without_its_inputs_says_what_is_missing(stage: str, tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    done = run([sys.executable, "-m", f"stages.{stage}"], tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.fullmatch(r"error: \S+: not found.*", done.stderr.splitlines()[-1])


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
    preset = read_preset(ROOT / "presets", "tiny-blocks")["prune"]
    change_params(workspace, {f"prune.{key}": value for key, value in preset.items()})
    change_params(workspace, {"prune.calibration_images": 2})
    done = run([sys.executable, "-m", "stages.prune"], workspace)
    assert done.returncode == 0, done.stderr
    blocks = read_table(workspace / PRUNE_PLOTS / "influence.csv")
    assert len(blocks) == 5 + 10 + 2 + 2
    for row in read_table(workspace / PRUNE_PLOTS / "stages.csv")[1:]:
        changes = {
            int(b["block"].partition(".")[2]): float(b["output_change"])
            for b in blocks
            if b["block"].startswith(f"stage{row['stage']}.")
        }
        kept = {int(place) for place in row["kept_blocks"].split()}
        assert len(kept) == [0, 1, 2, 1, 1][int(row["stage"])]
        dropped = changes.keys() - kept
        assert min(changes[b] for b in kept) >= max(changes[b] for b in dropped)
    dvc(workspace, "plots", "show", "-o", str(tmp_path), "plots/prune/influence.csv")
    page = (tmp_path / "index.html").read_text()
    assert all(row["block"] in page for row in blocks) and '"field": "output_change"' in page


def test_narrow_student_is_counted_and_its_repair_reported(workspace: Path) -> None:
    changes = {
        "prune.method": "direct",
        "prune.inner_ratio": [1, 0.5, 0.5, 0.5, 0.5],
        "prune.width_list": [16, 16, 32, 128, 128],
        "prune.channels": "rebuild",
        "prune.calibration_images": 2,
        "prune.repair": True,
    }
    change_params(workspace, changes)
    done = run([sys.executable, "-m", "stages.prune"], workspace)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((workspace / PRUNE_METRICS).read_text())
    rows = read_table(workspace / PRUNE_PLOTS / "stages.csv")
    assert [int(row["inner_width"]) for row in rows] == [16, 16, 32, 256, 256]
    assert [int(row["width"]) for row in rows] == [16, 16, 32, 128, 128]
    assert metrics.keys() == {"decoder_macs_share", "cut", "repaired"}
    assert metrics["repaired"]["psnr_db"] > metrics["cut"]["psnr_db"] + 1
    assert metrics["repaired"]["lpips"] < metrics["cut"]["lpips"]
    assert 0 < metrics["decoder_macs_share"] < 0.3
    assert (workspace / "plots/prune/influence.csv").read_text().count("\n") == 1
    done = run([sys.executable, "-m", "stages.distill"], workspace)
    assert "error: distill.tap: found 'act', where the student is 16 channels" in done.stderr
