"""Write the tables of docs/measuring.md from the figures of a GPU.

python -m benchmarks.gpu.table gpu
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import training
from benchmarks.gpu.__main__ import RESULTS
from benchmarks.setting import table

COLUMNS = {
    "decoding": (
        *("model", "way", "precision", "px", "batch", "latency_ms"),
        *("times_diffusers", "times_teacher_in_diffusers", "times_lite_in_diffusers"),
    ),
    "training": (*training.COLUMNS, "share_of_matmul_rate"),
    "kernels": ("call", "kernel", "count", "ms", "share"),
}


def main(folder: Annotated[Path, typer.Argument(help=f"Folder with {RESULTS}.")]) -> None:
    path = folder / RESULTS
    if not path.is_file():
        raise typer.BadParameter(f"{path}: not found, expected what `benchmarks.gpu` writes")
    print(tables(json.loads(path.read_text())))


def tables(results: Mapping[str, Any]) -> str:
    """Return the tables of the parts that are there, below a line about the device."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [f"{results['device']}, at commit {results['commit']} ({versions})."]
    for name, columns in COLUMNS.items():
        if rows := results["parts"].get(name, {}).get("rows"):
            parts.append(table(rows, columns))
    left = [f"{name}: {x}" for name, part in results["parts"].items() for x in part["left_out"]]
    failed = [name for name, part in results["parts"].items() if "failed" in part]
    if left:
        parts.append(f"No time was left for {'; '.join(left)}.")
    if failed:
        parts.append(f"Failed: {', '.join(failed)}.")
    return "\n\n".join(parts)


if __name__ == "__main__":
    typer.run(main)
