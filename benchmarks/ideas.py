"""Measure ideas: students whose parameters differ in one thing, from the same teacher and photos.

    python -m benchmarks.ideas recipe --out recipe.csv --images ../photos/val --size 256

The tables are benchmarks/tables/*.yaml. Each row changes params.yaml, after a preset if it names
one. Its student is pruned, distilled unless the table says `train: false`, and scored on the
pipeline's evaluation crops and, with --images, on other photos, because a recipe can fit the few
photos that it trains on. With --photos, students train on those instead of the pipeline's. Rows
that the CSV file already has do not run again. Run `dvc repro` first: the photos, the teacher and
the networks come from the pipeline.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml

from benchmarks.pipeline import params_with, pruned
from dcde.base.paths import LPIPS, MANIFEST, TEACHER
from dcde.base.results import read_table, write_table
from dcde.base.work import work_dir
from dcde.commands.eval import crops_to_score
from dcde.data.check import check_images
from dcde.data.crops import Crop, load_images
from dcde.data.folder import Photo, list_images
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.distill.distill import distill
from dcde.evaluate.evaluate import evaluate
from dcde.evaluate.intervals import score_intervals
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.model.costs import decoder_macs_share
from dcde.params.pipeline import Params
from dcde.report.tables import markdown_table

TABLES = Path(__file__).parent / "tables"


def main(
    table: Annotated[str, typer.Argument(help="A name in benchmarks/tables.")],
    out: Annotated[Path, typer.Option(help="CSV file to add rows to.")],
    only: Annotated[list[str] | None, typer.Option(help="Some of the rows.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    images: Annotated[Path | None, typer.Option(help="Photos to score on too.")] = None,
    size: Annotated[int, typer.Option(help="Side of their center crops.")] = 512,
    photos: Annotated[Path | None, typer.Option(help="Photos to train on.")] = None,
) -> None:
    ideas = yaml.safe_load((TABLES / f"{table}.yaml").read_text())
    pipeline = Manifest.load(MANIFEST)
    sets: dict[str, Sequence[Crop]] = {"": pipeline.eval}
    train_on = check_images(list_images(photos, "--photos")) if photos else pipeline.train
    if images is not None:
        sets["others_"] = crops_to_score(images, size)
    rows: list[dict[str, Any]] = list(read_table(out)) if out.is_file() else []
    for name in only or ideas["rows"]:
        if not any((row["row"], row["seed"]) == (name, str(seed)) for row in rows):
            params = row_params(ideas["rows"][name], seed)
            measured = measure(params, train_on, sets, train=ideas.get("train", True))
            rows.append({"row": name, "seed": str(seed), **measured})
            write_table(rows, out)
    rows = list(read_table(out))
    print(markdown_table([list(rows[0]), *(list(row.values()) for row in rows)]))


def row_params(changes: Mapping[str, Any], seed: int) -> Params:
    """Return params.yaml with a row's preset and changes."""
    settings = {key: value for key, value in changes.items() if key != "preset"}
    return params_with({**settings, "seed": seed}, changes.get("preset"))


def measure(
    params: Params, photos: Sequence[Photo], sets: Mapping[str, Sequence[Crop]], *, train: bool
) -> dict[str, Any]:
    """Make a student on these photos and compare it with the teacher on each set of crops."""
    teacher = read_model(TEACHER)
    images = load_images(spread(photos, params.prune.calibration_images), params.data.eval_size)
    began = time.monotonic()
    student = pruned(teacher, params.prune, images, load_lpips(LPIPS), seed=params.seed)
    if train:
        with tempfile.TemporaryDirectory() as state_dir:
            distill(
                student,
                teacher,
                tuple(photos),
                params,
                lpips_weights=LPIPS,
                state_dir=Path(state_dir),
                cache_dir=work_dir() / "latents",
                on_epoch=lambda epoch, model: None,
            )
    row: dict[str, Any] = {
        "decoder_macs": decoder_macs_share(teacher.config, student.config),
        "seconds": time.monotonic() - began,
    }
    for prefix, crops in sets.items():
        row |= {f"{prefix}{key}": value for key, value in gaps(student, tuple(crops)).items()}
    return row


def gaps(student: DCAE, crops: tuple[Crop, ...]) -> dict[str, float]:
    """Return student minus teacher in PSNR and LPIPS, and half of the gaps' 95% intervals."""
    values = {"teacher": _teacher_scores(crops), "student": _scores(student, crops)}
    spans = score_intervals(values, [crop.path for crop in crops])["gap"]
    found: dict[str, float] = {}
    for score in ("psnr_db", "lpips"):
        found[f"{score}_gap"] = values["student"][score].mean() - values["teacher"][score].mean()
        if span := spans[score]:
            found[f"{score}_half"] = (span[1] - span[0]) / 2
    return found


@cache
def _teacher_scores(crops: tuple[Crop, ...]) -> dict[str, np.ndarray]:
    return _scores(read_model(TEACHER), crops)


def _scores(model: DCAE, crops: Sequence[Crop]) -> dict[str, np.ndarray]:
    """Return the scores of each crop."""
    with tempfile.TemporaryDirectory() as state_dir:
        result = evaluate(
            {"model": model},
            crops,
            lpips_metric=load_lpips(LPIPS),
            networks=[],
            state_dir=Path(state_dir),
        )
    assert result is not None  # this is the only process
    return result.values["model"]


if __name__ == "__main__":
    typer.run(main)
