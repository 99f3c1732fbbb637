"""How far behind the teacher is a student of a given size, by the original recipe and by ours?

    python -m benchmarks.frontier --out frontier.csv --images ../photos/val --size 256

Students of about 34, 30, 20, 12 and 8% of the decoder's MACs are pruned and distilled by both
recipes, on as many crops, and scored on the pipeline's evaluation crops and, with --images, on
photos of another kind. A line that is in the file already is not run again, so that a long table
can be made in pieces; --plot draws what there is. Run `dvc repro` first: photos, teacher and
networks are the pipeline's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.recipe import measure_lines, scored_sets
from dcde.params.overrides import leaves, overrides
from dcde.base.paths import PRESETS
from dcde.commands.preset import read_preset
from dcde.report.frontier import frontier_figure
from dcde.report.tables import markdown_table

RECIPES: dict[str, list[str]] = {
    "original": [
        "prune.method=direct",
        "prune.channels=null",
        "prune.inner_ratio=null",
        "prune.repair=false",
        "distill.batch_size=8",
        "distill.dynamic_loss=false",
        "loss.feature=100",
        "loss.stream=0",
        "loss.lpips=0.1",
        "loss.teacher_lpips=0",
        "loss.gamma=0.05",
        "optimizer.lr=0.002",
    ],
    "ours": [],
}
"""Changes of params.yaml. The original's own learning rate, 1e-4, is for far longer runs."""

SIZES: dict[str, dict[str, list[str]]] = {
    "34": {
        "original": ["prune.depth_list=[0,1,2,1,1]"],
        "ours": ["prune.depth_list=[0,4,8,2,2]"],
    },
    "30": {"original": ["prune.depth_list=[0,1,1,1,1]"], "ours": []},
    "20": {
        "original": ["prune.depth_list=[0,1,1,1,1]", "prune.width_list=[16,32,32,128,128]"],
        "ours": overrides(leaves(read_preset(PRESETS, "tiny-5x"))),
    },
    "12": {
        "original": ["prune.depth_list=[0,1,1,1,1]", "prune.width_list=[16,32,32,64,64]"],
        "ours": overrides(leaves(read_preset(PRESETS, "tiny-8x"))),
    },
    "8": {
        "original": [
            "prune.depth_list=[0,1,1,1,1]",
            "prune.width_list=[16,16,32,64,64]",
            "loss.feature=0",
        ],
        "ours": ["prune.depth_list=[0,1,1,1,2]", "prune.width_list=[16,32,32,64,64]"],
    },
}
"""Percent of the decoder's MACs to the cuts of each recipe. The original drops whole blocks; below
30% that ends, and its stream is made narrower."""


def main(
    out: Annotated[Path, typer.Option(help="CSV file that lines are added to.")],
    recipe: Annotated[list[str] | None, typer.Option(help="Some of the recipes.")] = None,
    percent: Annotated[list[str] | None, typer.Option(help="Some of the sizes.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds; 0 if there is none.")] = None,
    images: Annotated[Path | None, typer.Option(help="Photos to score on too.")] = None,
    size: Annotated[int, typer.Option(help="Side of their centre crops.")] = 512,
    plot: Annotated[Path | None, typer.Option(help="Picture to draw, PNG or SVG.")] = None,
) -> None:
    lines: list[tuple[dict[str, Any], list[str]]] = [
        (
            {"recipe": name, "size": percentage, "seed": number},
            [*RECIPES[name], *SIZES[percentage][name]],
        )
        for number in seed or [0]
        for percentage in percent or SIZES
        for name in recipe or RECIPES
    ]
    rows = measure_lines(lines, out, scored_sets(images, size))
    print(markdown_table([list(rows[0]), *(list(row.values()) for row in rows)]))
    if plot is not None:
        frontier_figure(rows).savefig(plot, dpi=150)


if __name__ == "__main__":
    typer.run(main)
