"""Draw the frontier: how far students of each size are behind their teacher, by recipe.

python -m benchmarks.ideas frontier --out benchmarks/frontier.csv
python -m benchmarks.frontier docs/frontier.png
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from matplotlib.figure import Figure

from dcde.base.results import read_table
from dcde.report.charts import set_style

MEASURED = Path(__file__).with_suffix(".csv")
PANELS = {
    "lpips": "LPIPS minus the teacher's (lower is better)",
    "psnr_db": "PSNR minus the teacher's, dB (higher is better)",
}
SETS = {"": ("evaluation crops", "-"), "others_": ("other photos", ":")}
"""Prefix of a set's columns to its name and line."""


def main(
    out: Annotated[Path, typer.Argument(help="Picture to draw, PNG or SVG.")],
    table: Annotated[
        Path, typer.Option(help="CSV file of `benchmarks.ideas frontier`.")
    ] = MEASURED,
) -> None:
    frontier_figure(read_table(table)).savefig(out, dpi=150)


def frontier_figure(rows: Sequence[Mapping[str, str]]) -> Figure:
    """Plot the gaps over decoder MACs, with a line for each recipe and set of pictures.

    A point is the mean over seeds; its bar is the 95% interval over pictures.
    """
    recipes: dict[str, dict[str, list[Mapping[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        recipes[row["row"].split(",")[0]][row["row"]].append(row)
    figure = Figure(figsize=(10.4, 3.8), layout="constrained")
    for axes, (score, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        axes.axhline(0, color="0.7", linewidth=1)
        for color, (recipe, students) in enumerate(recipes.items()):
            for prefix, (pictures, line) in SETS.items():
                columns = ("decoder_macs", f"{prefix}{score}_gap", f"{prefix}{score}_half")
                if columns[1] not in rows[0]:
                    continue
                macs, gaps, halves = zip(
                    *sorted(
                        [mean(float(row[column]) for row in seeds) for column in columns]
                        for seeds in students.values()
                    ),
                    strict=True,
                )
                axes.errorbar(
                    [100 * share for share in macs],
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
        set_style(axes, title)
        axes.set_xlabel("decoder MACs, % of the teacher's")
        axes.set_xlim(left=0)
    figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2
    )
    return figure


if __name__ == "__main__":
    typer.run(main)
