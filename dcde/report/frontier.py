"""The frontier: how far students of each size are behind their teacher, by recipe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from dcde.base.results import read_table
from dcde.report.charts import set_style

Row = Mapping[str, Any]
"""Of `python -m benchmarks.frontier`: a student's recipe, size, seed, share of the teacher's MACs,
and gaps."""
TEACHER = "bundled:dc-ae-f16c16-photos"
"""Of which the measured frontier is."""
PANELS = {
    "lpips": "LPIPS minus the teacher's (lower is better)",
    "psnr_db": "PSNR minus the teacher's, dB (higher is better)",
}
SETS = {"": ("evaluation crops", "-"), "others_": ("photos of another kind", ":")}
"""Prefix of a set's columns to its name and line."""


def measured() -> list[dict[str, str]]:
    """The rows that come with the package."""
    with as_file(files("dcde.report") / "frontier.csv") as path:
        return read_table(path)


def frontier_figure(rows: Sequence[Row], run: Mapping[str, float] | None = None) -> Figure:
    """Gaps in LPIPS and PSNR over decoder MACs: a line for each recipe and set of pictures.

    A point is the mean over seeds; its bar is as long as the 95% interval over pictures.

    Args:
        run: another student's share `decoder_macs` and gaps `lpips` and `psnr_db`, shown as a star.
    """
    figure = Figure(figsize=(10.4, 3.8), layout="constrained")
    for axes, (score, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        axes.axhline(0, color="0.7", linewidth=1)
        for color, (recipe, students) in enumerate(_by_recipe(rows).items()):
            for prefix, (pictures, line) in SETS.items():
                column = f"{prefix}{score}_gap"
                if column not in rows[0]:
                    continue
                points = sorted(_mean_of(seeds, column) for seeds in students.values())
                macs, gaps, halves = zip(*points, strict=True)
                axes.errorbar(
                    macs,
                    gaps,
                    halves,
                    label=f"{recipe}, {pictures}",
                    color=f"C{color}",
                    linestyle=line,
                    marker="o",
                    markersize=4,
                    linewidth=1.2,
                    capsize=2,
                )
        if run is not None:
            place = (100 * run["decoder_macs"], run[score])
            axes.plot(*place, "*", color="black", markersize=12, label="this run, evaluation crops")
        set_style(axes, title)
        axes.set_xlabel("decoder MACs, % of the teacher's")
        axes.set_xlim(left=0)
    figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2
    )
    return figure


def _by_recipe(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Recipe to size to the rows of its seeds."""
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["recipe"]][row["size"]].append(row)
    return found


def _mean_of(seeds: Sequence[Row], column: str) -> tuple[float, float, float]:
    """MACs in percent, gap, and half of its interval, averaged over seeds."""
    half = column.removesuffix("gap") + "half"
    macs, gap, width = (
        mean(float(r[key]) for r in seeds) for key in ("decoder_macs", column, half)
    )
    return 100 * macs, gap, width
