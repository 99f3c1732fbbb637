"""Show several runs on one page: the results of `dvc exp show` as a table and two charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dcde.base.errors import UserError
from dcde.base.paths import PARAMS
from dcde.params.overrides import leaves
from dcde.report.charts import quality_charts
from dcde.report.render import html_table, render

NEEDED = ("student.psnr_db", "student.lpips", "gap.psnr_db", "student.decoder_macs_saved_percent")
"""Metrics that every finished run has."""


@dataclass(frozen=True)
class Experiment:
    """A finished run, and its changes to the commit that it started from."""

    name: str
    changed: Mapping[str, Any]
    """Parameter, as in `loss.gamma`, to value."""
    metrics: Mapping[str, float]
    """Metric, as in `student.psnr_db`, to value."""

    @property
    def decoder_macs_percent(self) -> float:
        return 100 - self.metrics["student.decoder_macs_saved_percent"]

    @property
    def point(self) -> tuple[float, float, float]:
        """The values that `quality_charts` takes."""
        lpips_ratio = self.metrics["student.lpips"] / self.metrics["teacher.lpips"]
        return (self.decoder_macs_percent, self.metrics["gap.psnr_db"], lpips_ratio)


def read_experiments() -> list[Experiment]:
    """Read the run of the current commit and all finished experiments on it, oldest first.

    Raises:
        UserError: if this is no DVC repository, or another user's, or no run has finished.
    """
    from dvc.api import exp_show  # slow to import
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from pygit2 import GitError

    try:
        Repo.find_root()
        rows = [row for row in exp_show() if row["rev"] != "workspace"]
    except (DvcException, GitError) as error:
        raise UserError(
            f"dvc exp show: {error}; run it in the repository's root, as the user who owns it"
        ) from None
    finished = [row for row in rows if all(row.get(key) is not None for key in NEEDED)]
    if not finished:
        raise UserError("no finished run found, expected one: `dvc repro` or `dvc exp run` first")
    base: Mapping[str, Any] = next((row for row in rows if row["typ"] == "baseline"), {})
    params = list(leaves(yaml.safe_load(PARAMS.read_text())))
    # DVC lists the commit first, then its experiments, newest first.
    oldest_first = sorted(reversed(finished), key=lambda row: row["typ"] != "baseline")
    return [_experiment(row, base, params) for row in oldest_first]


def _experiment(row: Mapping[str, Any], base: Mapping[str, Any], params: list[str]) -> Experiment:
    changed = {name: row[name] for name in params if row.get(name) != base.get(name)}
    metrics = {key: value for key, value in row.items() if isinstance(value, float)}
    return Experiment(row["Experiment"] or row["rev"], changed, metrics)


def experiments_page(experiments: list[Experiment]) -> str:
    """Return the HTML of all runs: what each changed, and its results."""
    rows = []
    for run in experiments:
        found = run.metrics
        changed = ", ".join(f"{key}={_shown(value)}" for key, value in run.changed.items())
        scores = [f"{found['student.psnr_db']:.2f}", f"{found['student.lpips']:.4f}"]
        gaps = [f"{found['gap.psnr_db']:+.2f}", f"{found['gap.lpips']:+.4f}"]
        rows.append([run.name, changed, f"{run.decoder_macs_percent:.1f}%", *scores, *gaps])
    header = ["run", "changed", "decoder MACs", "PSNR dB", "LPIPS", "PSNR gap", "LPIPS gap"]
    return render(
        [],
        title="DCDE: experiments",
        subtitle="The students of all finished runs on this commit; gaps are to the teacher.",
        table=html_table(header, rows),
        quality_charts=quality_charts({run.name: run.point for run in experiments}),
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
