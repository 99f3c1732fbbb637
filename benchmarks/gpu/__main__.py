"""Measure all that needs a GPU, in parts that are saved as soon as they are done.

    python -m benchmarks.gpu --out gpu
    python -m benchmarks.gpu --out gpu --only decoding --only training
    python -m benchmarks.gpu --out smoke --smoke    # run every line, on thin models

It is meant to end within nine minutes on an H100: each part has its share of the time, begins with
what matters most, and names what it left out. Models have random weights. EfficientNet-Lite0 is
used if `dvc repro download_metric_networks` has fetched it.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import decoding, full_size, training
from benchmarks.gpu import correctness, evaluation, runs
from benchmarks.setting import Setting, about
from dcde.base.results import write_metrics

PARTS = {
    "correctness": (correctness.measure, 0.1),
    "decoding": (decoding.measure, 0.35),
    "training": (training.measure, 0.25),
    "runs": (runs.measure, 0.1),
    "full_size": (full_size.measure, 0.1),
    "evaluation": (evaluation.measure, 0.1),
}
"""Name to the function that measures it, and its share of the time."""


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figures, a JSON file for each part.")],
    only: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(PARTS)}.")] = None,
    minutes: Annotated[float, typer.Option(help="For all parts together.")] = 9,
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
    """Measure a part and save it; save the traceback of one that fails."""
    part, share = PARTS[name]
    setting = Setting(out, seconds=60 * minutes * share, smoke=smoke)
    result: dict[str, Any] = {}
    try:
        result = part(setting)
    except Exception:  # the other parts are still worth the machine's time
        result = {"failed": traceback.format_exc()}
    result |= {"left_out": setting.left_out, "seconds": setting.seconds_used()}
    write_metrics({**about(setting.device), **result}, out / f"{name}.json")
    print(f"{name}: {setting.seconds_used():.0f} s")
    for key, value in result.items():
        print(f"  {key}: {value}")
    return "failed" not in result


if __name__ == "__main__":
    typer.run(main)
