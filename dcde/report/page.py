"""One run as one page: a self-contained HTML file with table, charts and a picture viewer."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from dcde.data.crops import Crop, load_crop
from dcde.data.pixels import to_model_range, to_uint8
from dcde.model import DCAE
from dcde.model.shared_encoders import SharedEncoders
from dcde.report.charts import Curve, curve_chart, quality_charts, svg
from dcde.report.frontier import TEACHER, frontier_figure, measured
from dcde.report.tables import SCORES

WEBP_QUALITY = 95


@dataclass(frozen=True)
class Picture:
    """An evaluation crop as input and as each model decodes it, with a line about it."""

    caption: str
    images: Mapping[str, str]
    """Name to data URI."""


@torch.inference_mode()
def decode_pictures(
    models: Mapping[str, DCAE], crops: Sequence[Crop], rows: Sequence[Mapping[str, Any]]
) -> list[Picture]:
    """Encode and decode crops by each model.

    Args:
        rows: the scores of each crop, see `dcde.evaluate.evaluate.image_rows`.
    """
    encode = SharedEncoders(models)
    pictures = []
    for crop, row in zip(crops, rows, strict=True):
        pixels = load_crop(crop)[None]
        latents = encode(to_model_range(pixels))
        decoded = {name: to_uint8(models[name].decode(x)) for name, x in latents.items()}
        images = {name: _data_uri(x[0]) for name, x in {"input": pixels, **decoded}.items()}
        scores = [
            f"{name} {float(row[f'{name}.psnr_db']):.2f} dB, "
            f"LPIPS {float(row[f'{name}.lpips']):.3f}"
            for name in models
        ]
        pictures.append(Picture("; ".join([row["crop"], *scores]), images))
    return pictures


def _data_uri(pixels: Tensor) -> str:
    """(3, H, W) uint8 as a WebP picture in a URI."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    picture.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of escaped cells."""
    head = Markup("").join(Markup("<th>{}</th>").format(cell) for cell in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row)
        )
        for row in rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


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
        ("commit", _commit()),
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
        worst=worst,
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


def _commit() -> str:
    """The commit at hand and whether files differ from it; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip()


def render(pictures: Sequence[Picture], **values: Any) -> str:
    """The page from `dcde/report/page.html`, whose variables `values` are.

    Sections that get nothing to show are left out.
    """
    template = (files("dcde.report") / "page.html").read_text()
    raw = json.dumps([{"caption": p.caption, "images": dict(p.images)} for p in pictures])
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            pictures=Markup(raw.replace("<", "\\u003c")),  # no caption may end the script element
            columns=list(pictures[0].images) if pictures else [],
            webp_quality=WEBP_QUALITY,
            **values,
        )
    )
