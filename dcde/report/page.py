"""Show a run on one page: a self-contained HTML file with tables, charts and a picture viewer.

The page depends only on what the run left, so the same results give the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dcde.report.charts import Curve, curve_chart, quality_charts
from dcde.report.pictures import WEBP_QUALITY, Picture
from dcde.report.render import html_table, render
from dcde.report.tables import SCORES

Table = Sequence[Mapping[str, str]]
"""The rows of a CSV file, as `dcde.base.results.read_table` returns them."""


@dataclass(frozen=True)
class RunRecord:
    """The results of a finished run, by their names in `dcde.base.paths`."""

    scores: Table
    """EVAL_SCORES: a row for each score of each model, and of the gap."""
    costs: Table
    """PROFILE_COSTS: a row for each model."""
    decoding: Table
    """PROFILE_DECODING: a row for each model, decoder and size."""
    profile: Mapping[str, Any]
    """PROFILE_METRICS."""
    curves: Mapping[str, Curve]
    teacher: str
    data: str
    params: str
    """The text of params.yaml."""


def run_page(run: RunRecord, pictures: Sequence[Picture], *, worst: int) -> str:
    """Return the HTML of one run.

    Args:
        worst: how many pictures, at the end, are those with the worst LPIPS.
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
        ("machine", run.decoding[0]["device"]),
    ]
    return render(
        pictures,
        title="DCDE: a decoder, pruned and distilled",
        subtitle=f"The student decodes with {macs_percent:.1f}% of the teacher's "
        "multiply-accumulates (MACs).",
        table=results_table(run),
        table_note="The gap is student minus teacher. Brackets hold 95% intervals of the mean over "
        "all photos of this kind. The decoding time compares the plain decoders.",
        pictures_note=f"In the last {worst} the student's LPIPS is worst. Pictures are stored as "
        f"WebP of quality {WEBP_QUALITY}.",
        quality_charts=quality_charts({"student": point}),
        training_charts=[
            curve_chart(group, curves, log=group in ("loss", "lr"))
            for group, curves in _grouped(run.curves).items()
            if curves
        ],
        decoding=decoding_table(run.decoding),
        run=html_table(["", ""], facts),
        params=run.params,
    )


def _grouped(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Group the curves that share a chart."""
    groups: dict[str, dict[str, Curve]] = {"loss": {}, "weight": {}}
    for name, curve in curves.items():
        group, _, last = name.partition("/")
        if group == "validation":  # one chart each: dB and LPIPS share no axis
            groups[name] = {last: curve}
        else:
            groups.setdefault(group, {})[last or group] = curve
    return groups


def scores_of(scores: Table, model: str) -> dict[str, float]:
    """Return the mean scores of a model, or of the gap."""
    return {row["score"]: float(row["mean"]) for row in scores if row["model"] == model}


def results_table(run: RunRecord) -> Markup:
    """Tabulate the costs and scores of teacher, pruned model and student, and the gap."""
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
    """Tabulate the timings: each model, by each decoder, at each size."""
    header = ["model", "decoder", "px", "ms", "10% to 90%", "images/s", "peak MiB"]
    rows = [
        [
            *(row[key] for key in ("model", "way", "resolution_px")),
            f"{float(row['latency_ms']):.1f}",
            f"{float(row['latency_p10_ms']):.1f} to {float(row['latency_p90_ms']):.1f}",
            f"{float(row['images_per_s']):.1f}",
            f"{float(row['peak_memory_mib']):.0f}" if row["peak_memory_mib"] else "",
        ]
        for row in decoding
    ]
    return html_table(header, rows)


def _with_interval(cell: Mapping[str, str], digits: str) -> str:
    """Write a mean, with its interval on a line below."""
    low, high = cell["low"], cell["high"]
    within = f"\n[{float(low):{digits}}, {float(high):{digits}}]" if low else ""
    return f"{float(cell['mean']):{digits}}{within}"
