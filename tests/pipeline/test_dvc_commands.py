"""DVC's everyday commands on a finished run: each ends with 0 and does what it says."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcde.base.paths import EVAL_METRICS
from tests.helpers.tiny import run
from tests.helpers.workspace import change_params, commit, dcde, dvc, git, identify, ran

CLEAN = "Data and pipelines are up to date."
IDEA = ("-S", "loss.gamma=0.3", "--name", "idea")


@pytest.fixture(scope="module")
def tried(workspace: Path) -> Path:
    """The finished run, and an experiment on it."""
    output = dvc(workspace, "exp", "run", *IDEA)
    assert ran(output) == {"distill", "eval", "profile", "report"}
    return workspace


def forget_changes(folder: Path) -> None:
    """Back to the commit, files that it does not have among the changes."""
    git(folder, "reset", "-q", "--hard")
    git(folder, "clean", "-qfd")


def test_an_experiments_metrics_say_what_it_bought(tried: Path) -> None:
    """As rows that a person reads: what the idea can change, and the one ratio that is measured."""
    changed = json.loads(dvc(tried, "metrics", "diff", "--json"))
    rows = {key for file in changed.values() for key in file}
    scores = {f"student.{s}" for s in ("psnr_db", "ssim", "lpips", "fd_lite0")}
    gaps = {f"gap.{s}" for s in ("psnr_db", "ssim", "lpips", "fd_lite0")}
    recovered = {"gap.psnr_db_recovered", "gap.lpips_recovered"}
    assert {"student.psnr_db", "gap.lpips"} <= rows
    assert rows <= scores | gaps | recovered | {"student.latency_over_teacher"}
    assert "loss.gamma" in json.loads(dvc(tried, "params", "diff", "--json"))["params.yaml"]


def test_table_of_experiments_fits_a_screen(tried: Path) -> None:
    """With the README's options: what was changed and the scores, without checksums and gaps."""
    options = ("--only-changed", "--drop", ".*/.*|.*yaml|gap")
    shown = dvc(tried, "exp", "show", *options, "--no-pager", NO_COLOR="1", COLUMNS="500")
    lines = [line.rstrip() for line in shown.splitlines() if "Experiment" in line or "idea" in line]
    assert "student.lpips" in lines[0] and "loss.gamma" in lines[0] and len(lines) == 2
    assert max(map(len, lines)) <= 160


def test_experiments_are_shown_on_one_page(tried: Path) -> None:
    """The commit's own run, then the experiment on it."""
    page = tried / ".dcde/experiments.html"
    dcde(tried, "experiments", "--out", str(page))
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(), flags=re.DOTALL)[1:]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]
    assert [row[1] for row in cells] == ["", "loss.gamma=0.3"]
    committed = json.loads(git(tried, "show", f"HEAD:{EVAL_METRICS}"))
    experiment = json.loads((tried / EVAL_METRICS).read_text())
    assert committed["student"] != experiment["student"]
    for row, scores in zip(cells, (committed, experiment), strict=True):
        assert row[3] == f"{scores['student']['psnr_db']:.2f}"
        assert row[6] == f"{scores['gap']['lpips']:+.4f}"


def test_apply_branch_and_checkout_bring_results_back(tried: Path) -> None:
    experiment = (tried / EVAL_METRICS).read_text()
    forget_changes(tried)
    dvc(tried, "checkout")
    assert CLEAN in dvc(tried, "status")
    committed = (tried / EVAL_METRICS).read_text()
    assert committed != experiment

    dvc(tried, "exp", "apply", "idea")
    assert (tried / EVAL_METRICS).read_text() == experiment
    assert CLEAN in dvc(tried, "status")

    forget_changes(tried)
    dvc(tried, "exp", "branch", "idea", "branch-of-idea")
    git(tried, "checkout", "-q", "branch-of-idea")
    dvc(tried, "checkout")
    assert (tried / EVAL_METRICS).read_text() == experiment
    assert CLEAN in dvc(tried, "status")
    git(tried, "checkout", "-q", "-")
    dvc(tried, "checkout")
    assert (tried / EVAL_METRICS).read_text() == committed


def test_a_new_clone_pulls_a_run_and_stays_clean(tried: Path, tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    dvc(tried, "remote", "add", "-d", "shared", str(remote))
    commit(tried, "remote")
    dvc(tried, "push")
    assert run(["git", "clone", "-q", str(tried), str(clone)], tmp_path).returncode == 0
    identify(clone)
    dvc(clone, "pull")
    assert CLEAN in dvc(clone, "status")
    assert ran(dvc(clone, "repro")) == set()
    dvc(clone, "repro", "--force", "--single-item", "report")  # the page depends on results alone
    assert git(clone, "status", "--porcelain") == ""
    assert ran(dvc(clone, "exp", "run", "-S", "runtime.workers=0")) == {"report"}
    forget_changes(clone)
    dvc(clone, "checkout")
    assert CLEAN in dvc(clone, "status")


@pytest.fixture
def queue(tried: Path) -> Iterator[Path]:
    yield tried
    dvc(tried, "queue", "stop", "--kill")


@pytest.mark.slow
def test_two_workers_run_a_queued_sweep_on_the_same_new_crops(queue: Path) -> None:
    """They share the folder of caches, where both need crops that are not there yet.

    The launcher has a value with `=` and a blank, which needs quotes inside the quotes.
    """
    change_params(queue, {"seed": 1})
    commit(queue, "other crops")
    launcher = 'launcher="env OMP_NUM_THREADS=1 python"'
    dvc(queue, "exp", "run", "--queue", "-S", "prune.method=last,gap", "-S", launcher)
    dvc(queue, "queue", "start", "-j", "2")
    deadline = time.monotonic() + 600
    while (status := dvc(queue, "queue", "status")).count("Success") < 2:
        assert "Failed" not in status and time.monotonic() < deadline, status
        time.sleep(8)  # asking takes seconds of a core, which the workers need
    table = dvc(queue, "exp", "show", "--csv").splitlines()
    rows = list(csv.DictReader(line for line in table if "," in line))
    students = {row["prune.method"]: row["student.psnr_db"] for row in rows if row["Experiment"]}
    assert {"last", "gap"} <= students.keys()
    assert len(set(students.values())) == len(students)
    assert len(list((queue / ".dcde/latents").glob("[!.]*"))) == 4  # of two seeds, two each


def test_a_typo_in_an_override_is_refused(tried: Path) -> None:
    before = (tried / "params.yaml").read_text()
    command = [sys.executable, "-m", "dvc", "exp", "run", "-S", "+loss.gama=0.3", "report"]
    done = run(command, tried)
    (tried / "params.yaml").write_text(before)
    assert done.returncode != 0
    assert "loss.gama: unknown parameter; did you mean 'gamma'?" in done.stdout + done.stderr
