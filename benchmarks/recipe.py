"""What does an idea bring? Distillations that differ in one thing, from the same pruned students.

    python -m benchmarks.recipe --out recipe.csv --images ../photos/val --size 256

Each line is a student of a few sizes, pruned as params.yaml says but for its shape, and distilled
with the idea's changes of params.yaml. It is scored on the pipeline's evaluation crops and, with
--images, on photos of another kind, because a recipe can fit the few photos that it trains on. A
line that is in the file already is not run again, so that a long table can be made in pieces. Run
`dvc repro` first: photos, teacher and networks are the pipeline's.
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

from dcde.base.devices import best_device
from dcde.params.overrides import leaves, overrides
from dcde.params.pipeline import Params
from dcde.params.file import validate
from dcde.base.paths import LPIPS, MANIFEST, PARAMS, PRESETS, TEACHER
from dcde.base.results import read_table, write_table
from dcde.base.work import work_dir
from dcde.commands.eval import crops_to_score
from dcde.commands.preset import merge, read_preset
from dcde.data.crops import Crop, load_images
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.distill.distill import distill
from dcde.evaluate.evaluate import evaluate
from dcde.evaluate.intervals import score_intervals
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.model.costs import decoder_macs_share
from dcde.prune.prune import prune
from dcde.report.tables import markdown_table

WHOLE = ["prune.inner_ratio=null", "prune.channels=null"]
STUDENTS: dict[str, list[str]] = {
    "default": [],
    "whole blocks": ["prune.depth_list=[0,1,2,1,1]", *WHOLE],
    "a fifth": overrides(leaves(read_preset(PRESETS, "tiny-5x"))),
    "an eighth": overrides(leaves(read_preset(PRESETS, "tiny-8x"))),
}
IDEAS: dict[str, list[str]] = {
    "as it is": [],
    "no repair": ["prune.repair=false"],
    "first blocks": ["prune.method=direct"],
    "even blocks": ["prune.method=gap"],
    "batches of 8": ["distill.batch_size=8"],
    "batches of 2": ["distill.batch_size=2"],
    "lr 2e-3": ["optimizer.lr=0.002"],
    "lr 5e-4": ["optimizer.lr=0.0005"],
    "warm-up": ["optimizer.warmup_steps=60"],
    "ema": ["distill.ema=0.99"],
    "lpips x 1/2": ["loss.lpips=0.3", "loss.teacher_lpips=0.2"],
    "lpips to the photo alone": ["loss.lpips=1", "loss.teacher_lpips=0"],
    "lpips to the teacher alone": ["loss.lpips=0", "loss.teacher_lpips=1"],
    "no stream loss": ["loss.stream=0"],
    "stream loss x 3": ["loss.stream=1"],
    "no feature loss": ["loss.feature=0"],
    "output layer trains": ["distill.freeze_project_out=false"],
    "no dynamic loss": ["distill.dynamic_loss=false"],
    "gan": ["loss.gamma=0.3"],
}
"""Name to changes of params.yaml."""


def main(
    out: Annotated[Path, typer.Option(help="CSV file that lines are added to.")],
    student: Annotated[list[str] | None, typer.Option(help="Some of the students.")] = None,
    idea: Annotated[list[str] | None, typer.Option(help="Some of the ideas.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="An idea of your own: changes, separated by blanks.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Photos to score on too.")] = None,
    size: Annotated[int, typer.Option(help="Side of their centre crops.")] = 512,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    chosen = {name: IDEAS[name] for name in idea or ([] if also else IDEAS)}
    chosen |= {changes: changes.split() for changes in also or []}
    lines = [
        ({"student": shape, "idea": name, "seed": seed}, [*STUDENTS[shape], *changes])
        for shape in student or STUDENTS
        for name, changes in chosen.items()
    ]
    rows = measure_lines(lines, out, scored_sets(images, size))
    print(markdown_table([list(rows[0]), *([str(value) for value in r.values()] for r in rows)]))


def scored_sets(images: Path | None, size: int) -> dict[str, Sequence[Crop]]:
    """The pipeline's evaluation crops and, where there is a folder of images, theirs."""
    sets: dict[str, Sequence[Crop]] = {"": Manifest.load(MANIFEST).eval}
    if images is not None:
        sets["others_"] = crops_to_score(images, size)
    return sets


def measure_lines(
    lines: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
    out: Path,
    sets: Mapping[str, Sequence[Crop]],
) -> list[dict[str, Any]]:
    """Measure those lines that a table lacks; return the table.

    Args:
        lines: what names a line in the table, its seed among it, and its changes of params.yaml.
    """
    rows: list[dict[str, Any]] = list(read_table(out)) if out.is_file() else []
    for name, changes in lines:
        if not any(all(row[key] == str(name[key]) for key in name) for row in rows):
            params = changed([*changes, f"seed={name['seed']}"])
            rows.append({**name, **measure(params, sets)})
            write_table(rows, out)
            rows = list(read_table(out))
    return rows


def changed(changes: Sequence[str]) -> Params:
    """params.yaml with `section.key=value` put in, as `dvc exp run -S` does."""
    raw: Any = yaml.safe_load(PARAMS.read_text())
    put_in(raw, changes)
    return validate(raw, Params, where=" ".join(changes))


def of_preset(name: str, changes: Mapping[str, Any] | None = None) -> Params:
    """params.yaml with a preset put in, and on top of it changes by section."""
    raw = merge(yaml.safe_load(PARAMS.read_text()), read_preset(PRESETS, name))
    return validate(merge(raw, changes or {}), Params, where=name)


def put_in(raw: dict[str, Any], changes: Sequence[str]) -> None:
    """Put `section.key=value` into what was read from a params.yaml."""
    for change in changes:
        name, _, value = change.partition("=")
        *sections, key = name.split(".")
        place = raw
        for section in sections:
            place = place[section]
        place[key] = yaml.safe_load(value)


def measure(params: Params, sets: Mapping[str, Sequence[Crop]]) -> dict[str, Any]:
    """Prune, distill, score; gaps are the student's mean minus the teacher's."""
    student, teacher = pruned_student(params), read_model(TEACHER)
    share = decoder_macs_share(teacher.config, student.config)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as state_dir:
        distill(
            student,
            teacher,
            Manifest.load(MANIFEST).train,
            params,
            lpips_weights=LPIPS,
            state_dir=Path(state_dir),
            cache_dir=work_dir() / "latents",
            on_epoch=lambda epoch, model: None,
        )
    row: dict[str, Any] = {"decoder_macs": share, "seconds": time.monotonic() - began}
    for name, crops in sets.items():
        row |= {f"{name}{key}": value for key, value in gaps(student, tuple(crops)).items()}
    return row


def pruned_student(params: Params) -> DCAE:
    """The pipeline's teacher, pruned as the parameters say."""
    photos, device = Manifest.load(MANIFEST).train, best_device()
    images = load_images(spread(photos, params.prune.calibration_images), params.data.eval_size)
    return prune(
        read_model(TEACHER),
        params.prune,
        images=lambda: images.to(device),
        lpips_metric=lambda: load_lpips(LPIPS).to(device),
        seed=params.seed,
        device=device,
    ).student


def gaps(student: DCAE, crops: tuple[Crop, ...]) -> dict[str, float]:
    """Gaps in PSNR and LPIPS to the teacher, with half the width of their 95% intervals."""
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
    """The scores of each crop."""
    with tempfile.TemporaryDirectory() as state_dir:
        result = evaluate(
            {"model": model},
            crops,
            lpips_metric=load_lpips(LPIPS),
            networks=[],
            batch_size=8,
            workers=0,
            device=best_device(),
            state_dir=Path(state_dir),
            cache_dir=work_dir() / "references",
        )
    assert result is not None  # this is the only process
    return result.values["model"]


if __name__ == "__main__":
    typer.run(main)
