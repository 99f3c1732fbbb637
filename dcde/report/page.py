"""One run as one page: a self-contained HTML file with table, charts and a picture viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dcde.params.overrides import value_text
from dcde.report.changes import Change, Changes, git
from dcde.report.charts import Curve, curve_chart, quality_charts, svg
from dcde.report.frontier import TEACHER, frontier_figure, measured
from dcde.report.pictures import WEBP_QUALITY, Picture
from dcde.report.render import html_table, render
from dcde.report.tables import SCORES

Table = Sequence[Mapping[str, str]]
"""The rows of a CSV file, see `dcde.base.results.read_table`."""


@dataclass(frozen=True)
class RunRecord:
    """What a finished run left, as `dcde.base.paths` names it."""

    scores: Table
    """EVAL_SCORES: a row for each model, and the gap, and each score."""
    costs: Table
    """PROFILE_COSTS: a row for each model."""
    decoding: Table
    """PROFILE_DECODING: a row for each model, way to decode, size and batch."""
    profile: Mapping[str, Any]
    """PROFILE_METRICS."""
    curves: Mapping[str, Curve]
    teacher: str
    data: str
    params: str
    """The text of params.yaml."""
    changes: Changes | None
    """Against the last commit; None where there is none."""


def run_page(run: RunRecord, pictures: Sequence[Picture], *, worst: int) -> str:
    """HTML of one run.

    Args:
        worst: how many pictures, the last ones, are the worst by LPIPS.
    """
    teacher, student = (scores_of(run.scores, name) for name in ("teacher", "student"))
    macs_percent = 100 - run.profile["student"]["decoder_macs_saved_percent"]
    point = (
        macs_percent,
        student["psnr_db"] - teacher["psnr_db"],
        student["lpips"] / teacher["lpips"],
    )
    facts = [
        ("teacher", run.teacher),
        ("photos", run.data),
        ("commit", git("describe", "--always", "--dirty") or ""),
        ("machine", run.decoding[0]["device"]),
    ]
    return render(
        pictures,
        title="DCDE: a decoder, pruned and distilled",
        subtitle=f"The student decodes with {macs_percent:.1f}% of the teacher's "
        "multiply-accumulates (MACs).",
        table=results_table(run),
        table_note="The gap is student minus teacher. In brackets: 95% intervals of the mean over "
        "all photos of this kind. The decoding time is that of the plain decoder over the "
        "teacher's.",
        pictures_note=f"The last {worst} are those where the student's LPIPS is worst. Pictures "
        f"are stored as WebP of quality {WEBP_QUALITY}.",
        **(_changes(run.changes) if run.changes else {"command": "dvc repro"}),
        quality_charts=quality_charts({"student": point}),
        frontier=_frontier(run, macs_percent / 100) if run.teacher == TEACHER else "",
        training_charts=[
            curve_chart(group, curves, log=group in ("loss", "lr"))
            for group, curves in _grouped(run.curves).items()
            if curves
        ],
        decoding=decoding_table(run.decoding),
        run=html_table(["", ""], facts),
        params=run.params,
    )


def _changes(changes: Changes) -> dict[str, Any]:
    """What the page says about the run's difference from the last commit."""
    commit = changes.commit
    params = [
        [name, value_text(then), value_text(now)] for name, (then, now) in changes.params.items()
    ]
    metrics = [[name, *_numbers(change)] for name, change in changes.metrics.items()]
    tables = [
        html_table([head, *rest], rows)
        for head, rest, rows in (
            ("parameter", ("then", "now"), params),
            ("metric", ("then", "now", "difference"), metrics),
        )
        if rows
    ]
    return {
        "changes": tables,
        "changes_note": f"Against commit {commit}; what is not listed is the same."
        if tables
        else f"No parameter differs from those of commit {commit}, and no metric that it has.",
        "command": changes.command,
        "command_note": f"on commit {commit}"
        + (f" with the changes that it lacks in {', '.join(changes.code)}" if changes.code else ""),
    }


def _numbers(change: Change) -> list[str]:
    """A metric then and now, and what was added to it."""
    then, now = change
    added = "" if then is None or now is None else f"{now - then:+.3g}"
    return [*("" if value is None else f"{value:.6g}" for value in change), added]


def _frontier(run: RunRecord, decoder_macs: float) -> Markup:
    """The student among those of each recipe and size."""
    return svg(
        frontier_figure(measured(), {"decoder_macs": decoder_macs} | scores_of(run.scores, "gap"))
    )


def _grouped(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Which curves share a chart."""
    groups: dict[str, dict[str, Curve]] = {"loss": {}, "weight": {}}
    for name, curve in curves.items():
        group, _, last = name.partition("/")
        if group == "validation":  # one a chart: dB and LPIPS share no axis
            groups[name] = {last: curve}
        else:
            groups.setdefault(group, {})[last or group] = curve
    return groups


def scores_of(scores: Table, model: str) -> dict[str, float]:
    """The means of a model's scores, or of the gap's."""
    return {row["score"]: float(row["mean"]) for row in scores if row["model"] == model}


def results_table(run: RunRecord) -> Markup:
    """Teacher, pruned and student: what they cost, how well they decode, what gap is left."""
    shown = [key for key in SCORES if key in scores_of(run.scores, "teacher")]
    cells = {(row["model"], row["score"]): row for row in run.scores}
    costs = {row["model"]: row for row in run.costs}
    header = ["", "decoder MACs", "decoder weights", "decoding time", *(SCORES[k] for k in shown)]
    times = {"teacher": "1", "student": f"{run.profile['student']['latency_over_teacher']:.2f}"}
    rows = []
    for name in ("teacher", "pruned", "student"):
        macs, weights = (int(costs[name][key]) for key in ("decoder_macs", "decoder_params"))
        row = [name, f"{macs / 1e9:.2f} G", f"{weights / 1e6:.2f} M", times.get(name, "")]
        rows.append([*row, *(_with_interval(cells[name, key], ".4g") for key in shown)])
    gaps = [_with_interval(cells["gap", key], "+.2g") for key in shown]
    return html_table(header, [*rows, ["gap", "", "", "", *gaps]])


def decoding_table(decoding: Table) -> Markup:
    """All that was timed: each model in each way to decode, at each size and batch."""
    header = ["model", "decoder", "px", "batch", "ms", "10% to 90%", "images/s", "peak MiB"]
    rows = [
        [
            *(row[key] for key in ("model", "way", "resolution_px", "batch_size")),
            f"{float(row['latency_ms']):.1f}",
            f"{float(row['latency_p10_ms']):.1f} to {float(row['latency_p90_ms']):.1f}",
            f"{float(row['images_per_s']):.1f}",
            f"{float(row['peak_memory_mib']):.0f}" if row["peak_memory_mib"] else "",
        ]
        for row in decoding
    ]
    return html_table(header, rows)


def _with_interval(cell: Mapping[str, str], digits: str) -> str:
    """A mean, and its interval on a line below."""
    low, high = cell["low"], cell["high"]
    within = f"\n[{float(low):{digits}}, {float(high):{digits}}]" if low else ""
    return f"{float(cell['mean']):{digits}}{within}"
