"""Several runs on one page: what `dvc exp show` knows, as a table and two charts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcde.base.errors import UserError
from dcde.report.charts import quality_charts
from dcde.report.page import html_table, render

PARAMS, EVAL, PROFILE = "params.yaml", "metrics/eval.json", "metrics/profile.json"


@dataclass(frozen=True)
class Experiment:
    """A finished run with what it changed against the commit that it started from."""

    name: str
    changed: Mapping[str, Any]
    eval: Mapping[str, Any]
    profile: Mapping[str, Any]

    @property
    def decoder_macs_percent(self) -> float:
        return 100 - float(self.profile["student"]["decoder_macs_saved_percent"])

    @property
    def point(self) -> tuple[float, float, float]:
        """As `quality_charts` takes it."""
        student, teacher = self.eval["student"], self.eval["teacher"]
        return (
            self.decoder_macs_percent,
            student["psnr_db"] - teacher["psnr_db"],
            student["lpips"] / teacher["lpips"],
        )


def read_experiments() -> list[Experiment]:
    """The commit at hand and all finished experiments on it, oldest first.

    Raises:
        UserError: if DVC can't tell, or there are none that finished.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().rsplit("\n", 1)[-1]
        raise UserError(f"dvc exp show: {last or 'failed'}; run it in the repository's root")
    found = []
    for commit in json.loads(done.stdout)[1:]:  # the first is the workspace
        base = _finished(commit, commit["name"] or commit["rev"][:7], {})
        if base is None:
            continue
        before = _leaves(commit["data"]["params"][PARAMS]["data"])
        found.append(base)
        for experiment in reversed(commit["experiments"] or []):
            run = experiment["revs"][0]
            done_run = _finished(run, run["name"] or run["rev"][:7], before)
            if done_run is not None:
                found.append(done_run)
    if not found:
        raise UserError("no finished run found, expected one: `dvc repro` or `dvc exp run` first")
    return found


def _finished(run: Mapping[str, Any], name: str, before: Mapping[str, Any]) -> Experiment | None:
    data = run["data"]
    metrics = (data or {}).get("metrics") or {}
    if not all("data" in metrics.get(path, {}) for path in (EVAL, PROFILE)):
        return None  # queued, failed, or from before these metrics were there
    after = _leaves(data["params"][PARAMS]["data"])
    changed = {key: value for key, value in after.items() if before and before.get(key) != value}
    return Experiment(name, changed, metrics[EVAL]["data"], metrics[PROFILE]["data"])


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def experiments_page(experiments: list[Experiment]) -> str:
    """HTML of all runs: what each changed, what came of it."""
    rows = []
    for run in experiments:
        student, gap = run.eval["student"], run.eval["gap"]
        changed = ", ".join(f"{key}={value}" for key, value in run.changed.items())
        scores = [f"{student['psnr_db']:.2f}", f"{student['lpips']:.4f}"]
        gaps = [f"{gap['psnr_db']:+.2f}", f"{gap['lpips']:+.4f}"]
        rows.append([run.name, changed, f"{run.decoder_macs_percent:.1f}%", *scores, *gaps])
    header = ["run", "changed", "decoder MACs", "PSNR dB", "LPIPS", "PSNR gap", "LPIPS gap"]
    return render(
        [],
        title="DCDE: experiments",
        subtitle="The students of all finished runs on this commit; gaps are to the teacher.",
        table=html_table(header, rows),
        quality_charts=quality_charts({run.name: run.point for run in experiments}),
    )
