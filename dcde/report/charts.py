"""Draw the charts of a run as SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

PUBLISHED = {
    "w4-v4": (97.5, 26.5646 - 26.2547, 0.09752 / 0.0783),
    "w4-v8": (60.9, 26.55881 - 26.2547, 0.11312 / 0.0783),
    "w4-v25": (30.5, 26.22011 - 26.2547, 0.12579 / 0.0783),
}
"""Published students of dc-ae-f32c32 (ImageNet, 512 px): decoder MACs in percent of the teacher's,
difference in PSNR in dB, ratio of LPIPS."""


Curve = tuple[list[float], list[float]]
"""Steps and values."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """Read DVCLive's curves below a folder, by names such as "loss/image"."""
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
    """Plot curves over steps."""
    figure, axes = _figure(title)
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name, linewidth=1)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    return svg(figure)


def quality_charts(points: Mapping[str, tuple[float, float, float]]) -> list[Markup]:
    """Plot PSNR and LPIPS, compared with the teacher's, over decoder MACs.

    Args:
        points: name to values as in `PUBLISHED`.
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
        axes.margins(y=0.15)  # keep the names of points below the title
        axes.set_xlim(0, 108)
        axes.set_xlabel("decoder MACs, % of the teacher's")
        figure.legend(frameon=False, loc="outside lower center", ncols=4)
        charts.append(svg(figure))
    return charts


def _figure(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    set_style(axes, title)
    return figure, axes


def set_style(axes: Any, title: str) -> None:
    """Make every chart look the same."""
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def svg(figure: Figure) -> Markup:
    """Return a figure as text for a page; the same figure gives the same text."""
    buffer = io.StringIO()
    # By default matplotlib writes the date, and salts the ids of elements at random.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dcde"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return Markup(svg[svg.index("<svg") :])
