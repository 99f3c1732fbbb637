"""Measure all that needs a GPU, what decides first; figures are saved after each part.

    python -m benchmarks.gpu --out gpu
    python -m benchmarks.gpu --out gpu --only decoding --only training
    python -m benchmarks.gpu --out smoke --smoke    # run every line, on thin models
    python -m benchmarks.gpu.table gpu              # the tables of docs/measuring.md

All figures go to one file, `results.json`. Each part has its share of the time, and names what it
left out. Models have random weights, so neither photos nor a network are needed; nor is DVC, and
diffusers only to compare with it. EfficientNet-Lite0 is used if `dvc repro
download_metric_networks` has fetched it.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import decoding, full_size, training
from benchmarks.gpu import correctness, evaluation, kernels, runs
from benchmarks.setting import Setting, about
from dcde.base.results import write_metrics

PARTS: dict[str, tuple[Callable[[Setting], dict[str, Any]], float]] = {
    "decoding": (decoding.measure, 0.4),
    "training": (training.measure, 0.2),
    "correctness": (correctness.measure, 0.1),
    "kernels": (kernels.measure, 0.1),
    "runs": (runs.measure, 0.1),
    "full_size": (full_size.measure, 0.05),
    "evaluation": (evaluation.measure, 0.05),
}
"""Name to the function that measures it, and its share of the time."""
RESULTS = "results.json"


def main(
    out: Annotated[Path, typer.Option(help=f"Folder for {RESULTS}.")],
    only: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(PARTS)}.")] = None,
    minutes: Annotated[float, typer.Option(help="For all parts together.")] = 6,
    smoke: Annotated[bool, typer.Option("--smoke", help="Thin models and few runs.")] = False,
) -> None:
    unknown = set(only or ()) - set(PARTS)
    if unknown:
        raise typer.BadParameter(f"--only: found {unknown.pop()!r}, expected some of {list(PARTS)}")
    out.mkdir(parents=True, exist_ok=True)
    failed = [name for name in only or PARTS if not run_part(name, out, minutes, smoke=smoke)]
    if failed:
        print(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)


def run_part(name: str, out: Path, minutes: float, *, smoke: bool) -> bool:
    """Measure a part and add it to the results, or the traceback if it fails."""
    part, share = PARTS[name]
    setting = Setting(out, seconds=60 * minutes * share, smoke=smoke)
    found: dict[str, Any] = {}
    try:
        found = part(setting)
    except Exception:  # the other parts are still worth the machine's time
        found = {"failed": traceback.format_exc()}
    found |= {"left_out": setting.left_out, "seconds": setting.seconds_used()}
    path = out / RESULTS
    before = json.loads(path.read_text())["parts"] if path.exists() else {}
    write_metrics({**about(setting.device), "parts": {**before, name: found}}, path)
    print(f"{name}: {setting.seconds_used():.0f} s")
    for key, value in found.items():
        print(f"  {key}: {value}")
    return "failed" not in found


if __name__ == "__main__":
    typer.run(main)
