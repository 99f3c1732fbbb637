"""Find the best student of a size: many shapes train briefly, the best quarter of them longer.

    python -m benchmarks.shapes --out benchmarks/shapes.csv --images ../photos/val --size 256

benchmarks/shapes.yaml has shapes of about equal cost for each teacher and budget. All are
distilled on few crops, and the best quarter again on four times as many (successive halving;
Jamieson and Talwalkar, arXiv 1502.07943), and the best two of these by other seeds. LPIPS decides,
on other photos than those that repair is fitted to. Shapes that the CSV file already has do not run
again. Run `dvc repro` first: the photos, the teacher and the networks come from the pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.ideas import measure, row_params
from dcde.base.paths import MANIFEST, TEACHER
from dcde.base.results import read_table, write_table
from dcde.commands.eval import crops_to_score
from dcde.data.manifest import Manifest
from dcde.model import DCAEConfig
from dcde.model.checkpoint import read_model
from dcde.params.pipeline import Params
from dcde.prune.shape import student_config
from dcde.report.tables import markdown_table

SHAPES = Path(__file__).with_suffix(".yaml")
ROUNDS = (150, 600)
"""Crops per epoch in each round; the last is the default run's."""


def main(
    out: Annotated[Path, typer.Option(help="CSV file to add rows to.")],
    images: Annotated[Path, typer.Option(help="Photos to judge by.")],
    size: Annotated[int, typer.Option(help="Side of their center crops.")] = 512,
    only: Annotated[list[str] | None, typer.Option(help="Some of the budgets.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds for the best two.")] = 3,
) -> None:
    teacher = read_model(TEACHER).config
    budgets = yaml.safe_load(SHAPES.read_text())[teacher.name]
    pipeline = Manifest.load(MANIFEST)
    sets = {"": pipeline.eval, "others_": crops_to_score(images, size)}
    rows: list[dict[str, Any]] = list(read_table(out)) if out.is_file() else []

    def lpips_gap(shape: str, crops: int, seed: int = 0) -> float:
        key = {"teacher": teacher.name, "shape": shape, "crops": str(crops), "seed": str(seed)}
        row = next((row for row in rows if key.items() <= row.items()), None)
        if row is None:
            params = shape_params(teacher, json.loads(shape), crops, seed)
            row = {**key, **measure(params, pipeline.train, sets, train=True)}
            rows.append(row)
            write_table(rows, out)
        return float(row["others_lpips_gap"])

    for budget in only or budgets:
        left = [json.dumps(shape) for shape in budgets[budget]]
        for crops in ROUNDS:
            left.sort(key=partial(lpips_gap, crops=crops))
            left = left[: max(2, len(left) // 4)]
        for shape, seed in product(left, range(1, seeds)):
            lpips_gap(shape, ROUNDS[-1], seed)
    rows = list(read_table(out))
    print(markdown_table([list(rows[0]), *(list(row.values()) for row in rows)]))


def shape_params(teacher: DCAEConfig, shape: Sequence[Any], crops: int, seed: int) -> Params:
    """Return params.yaml with a shape; an output layer that repair made anew trains too."""
    depths, widths, inner = shape
    changes = {
        "prune.depth_list": depths,
        "prune.width_list": widths,
        "prune.inner_ratio": inner if isinstance(inner, list) else [inner] * len(depths),
        "distill.samples_per_epoch": crops,
        "distill.validation_photos": 0,
    }
    params = row_params(changes, seed)
    student = student_config(teacher, params.prune).decoder
    finest = teacher.decoder.first_stage
    if (student.first_stage, student.widths[finest]) == (finest, teacher.decoder.widths[finest]):
        return params
    return row_params({**changes, "distill.freeze_project_out": False, "loss.feature": 0}, seed)


if __name__ == "__main__":
    typer.run(main)
