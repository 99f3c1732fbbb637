"""One run as one page: a self-contained HTML file with table, charts and a picture viewer."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import torch
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dcde.data import Crop, load_crop, to_model_range, to_uint8
from dcde.model import DCAE
from dcde.reports import SCORES

WEBP_QUALITY = 95

PUBLISHED = {
    "w4-v4": (97.5, 26.5646 - 26.2547, 0.09752 / 0.0783),
    "w4-v8": (60.9, 26.55881 - 26.2547, 0.11312 / 0.0783),
    "w4-v25": (30.5, 26.22011 - 26.2547, 0.12579 / 0.0783),
}
"""Published students of dc-ae-f32c32 (ImageNet, 512 px): decoder MACs in percent of the teacher's,
PSNR minus the teacher's in dB, LPIPS over the teacher's."""


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
    """Decode crops by each model; the models share an encoder.

    Args:
        rows: the scores of each crop, see `dcde.evaluation.image_rows`.
    """
    encoder = next(iter(models.values()))
    pictures = []
    for crop, row in zip(crops, rows, strict=True):
        pixels = load_crop(crop)[None]
        latent = encoder.encode(to_model_range(pixels))
        decoded = {name: to_uint8(model.decode(latent)) for name, model in models.items()}
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


Curve = tuple[list[float], list[float]]
"""Steps and values."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """dvclive's curves below a folder: name ("loss/image") to steps and values."""
    curves = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
        step = header.index("step")
        name = str(path.relative_to(folder).with_suffix(""))
        curves[name] = (
            [float(row[step]) for row in rows],
            [float(row[1 - step]) for row in rows],
        )
    return curves


def curve_chart(title: str, curves: Mapping[str, Curve], *, log: bool) -> Markup:
    """Curves over steps, as SVG."""
    figure, axes = _figure(title)
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name, linewidth=1)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    return _svg(figure)


def quality_charts(points: Mapping[str, tuple[float, float, float]]) -> list[Markup]:
    """PSNR and LPIPS against the teacher's over decoder MACs, as SVG.

    Args:
        points: name to (MACs in percent, PSNR difference in dB, LPIPS ratio), as `PUBLISHED`.
    """
    charts = []
    panels = (
        ("PSNR minus the teacher's, dB", 1, 0.0),
        ("LPIPS over the teacher's (lower is better)", 2, 1.0),
    )
    for title, column, teacher in panels:
        figure, axes = _figure(title)
        axes.axhline(teacher, color="0.7", linewidth=1)
        groups = (("published, ImageNet 512 px", PUBLISHED, "0.5"), ("this run", points, "C0"))
        for label, group, color in groups:
            xs, ys = [p[0] for p in group.values()], [p[column] for p in group.values()]
            axes.scatter(xs, ys, label=label, color=color)
            for name, x, y in zip(group, xs, ys, strict=True):
                axes.annotate(name, (x, y), xytext=(5, 5), textcoords="offset points")
        axes.set_xlim(0, 108)
        axes.set_xlabel("decoder MACs, % of the teacher's")
        figure.legend(frameon=False, loc="outside lower center", ncols=4)
        charts.append(_svg(figure))
    return charts


def _figure(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Figure) -> Markup:
    buffer = io.StringIO()
    # Text stays text; a fixed salt and no date make the same figure the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dcde"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return Markup(svg[svg.index("<svg") :])


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


@dataclass(frozen=True)
class RunRecord:
    """What a finished run left."""

    scores: Mapping[str, Any]
    """metrics/eval.json"""
    costs: Mapping[str, Any]
    """metrics/profile.json"""
    curves: Mapping[str, Curve]
    teacher: str
    data: str
    params: str
    """params.yaml"""


def run_page(run: RunRecord, pictures: Sequence[Picture], *, worst: int) -> str:
    """HTML of one run.

    Args:
        worst: how many pictures, the last ones, are the worst by LPIPS.
    """
    teacher, student = (run.scores[name] for name in ("teacher", "student"))
    macs_percent = 100 - run.costs["student"]["decoder_macs_saved_percent"]
    point = (
        macs_percent,
        student["psnr_db"] - teacher["psnr_db"],
        student["lpips"] / teacher["lpips"],
    )
    groups: dict[str, dict[str, Curve]] = {"loss": {}, "weight": {}}
    for name, curve in run.curves.items():
        group, _, last = name.partition("/")
        if group == "validation":  # one a chart: dB and LPIPS share no axis
            groups[name] = {last: curve}
        else:
            groups.setdefault(group, {})[last or group] = curve
    facts = [
        ("teacher", run.teacher),
        ("photos", f"{run.data}, {run.scores['images']} crops for evaluation"),
        ("commit", _commit()),
        ("machine", run.costs["device"]),
    ]
    return render(
        pictures,
        title="DCDE: a decoder, pruned and distilled",
        subtitle=f"The student decodes with {macs_percent:.1f}% of the teacher's MACs.",
        table=results_table(run.scores, run.costs),
        table_note="The gap is student minus teacher. In brackets: 95% intervals of the mean, from "
        "resampled photos.",
        worst=worst,
        quality_charts=quality_charts({"student": point}),
        training_charts=[
            curve_chart(group, curves, log=group in ("loss", "lr"))
            for group, curves in groups.items()
            if curves
        ],
        run=html_table(["", ""], facts),
        params=run.params,
    )


def results_table(scores: Mapping[str, Any], costs: Mapping[str, Any]) -> Markup:
    """Teacher, pruned and student: what they cost, how well they decode, what gap is left."""
    latency = largest_latency(costs["teacher"])
    shown = [key for key in SCORES if key in scores["teacher"]]
    decoding = f"ms, {latency.rpartition('_')[2]} px"
    header = ["", "decoder MACs", "decoder weights", decoding, *(SCORES[key] for key in shown)]
    rows = []
    for name in ("teacher", "pruned", "student"):
        cost, row = costs[name], [name]
        row.append(f"{cost['decoder_macs'] / 1e9:.2f} G")
        row.append(f"{cost['decoder_params'] / 1e6:.2f} M")
        row.append(f"{cost[latency]:.1f}")
        rows.append([*row, *(_with_interval(scores, name, key, ".4g") for key in shown)])
    gaps = [_with_interval(scores, "gap", key, "+.2g") for key in shown]
    return html_table(header, [*rows, ["gap", "", "", "", *gaps]])


def largest_latency(costs: Mapping[str, Any]) -> str:
    """The key in metrics/profile.json of the plain decoder's latency at the largest resolution."""
    keys = [key for key in costs if re.fullmatch(r"latency_ms_\d+", key)]
    return max(keys, key=lambda key: int(key.rpartition("_")[2]))


def _with_interval(scores: Mapping[str, Any], row: str, key: str, digits: str) -> str:
    """A mean, and its interval on a line below."""
    interval = scores["ci95"][row].get(key)
    within = f"\n[{interval[0]:{digits}}, {interval[1]:{digits}}]" if interval else ""
    return f"{scores[row][key]:{digits}}{within}"


def _commit() -> str:
    """The commit at hand and whether files differ from it; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip()


def render(pictures: Sequence[Picture], **values: Any) -> str:
    """The page from `dcde/page.html`, whose variables `values` are.

    Sections that get nothing to show are left out.
    """
    template = (files("dcde") / "page.html").read_text()
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
