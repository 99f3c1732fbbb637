"""Write the tables of docs/measuring.md from the figures of a GPU.

python -m benchmarks.gpu.table gpu
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu.__main__ import RESULTS
from dcde.report.tables import markdown_table

SHOWN_KERNELS = 5


def main(folder: Annotated[Path, typer.Argument(help=f"Folder with {RESULTS}.")]) -> None:
    path = folder / RESULTS
    if not path.is_file():
        raise typer.BadParameter(f"{path}: not found, expected what `benchmarks.gpu` writes")
    print(tables(json.loads(path.read_text())))


def tables(results: Mapping[str, Any]) -> str:
    """Return the tables of the parts that are there, below a line about the device."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [f"{results['device']}, at commit {results['commit']} ({versions})."]
    for name, table in (
        ("decoding", decoding_table),
        ("training", training_table),
        ("kernels", kernel_table),
    ):
        if "failed" not in (part := results["parts"].get(name, {"failed": "not measured"})):
            parts.append(table(part))
    left = [f"{name}: {x}" for name, part in results["parts"].items() for x in part["left_out"]]
    failed = [name for name, part in results["parts"].items() if "failed" in part]
    if left:
        parts.append(f"No time was left for {'; '.join(left)}.")
    if failed:
        parts.append(f"Failed: {', '.join(failed)}.")
    return "\n\n".join(parts)


def decoding_table(part: Mapping[str, Any]) -> str:
    """Compare decoders with their teacher's and with DC-AE-Lite's in diffusers, compiled alike."""
    head = ["decoder", "images", "ms", "times itself in diffusers", "times teacher", "times Lite"]
    ratios = ("times_diffusers", "times_teacher_in_diffusers", "times_lite_in_diffusers")
    return _table(
        head,
        (
            [
                f"{row['model']}, {row['way']}, {row['precision']}",
                f"{row['batch']} x {row['px']} px",
                f"{row['latency_ms']:.1f}",
                *(f"{row[key]:.2f}" if key in row else "" for key in ratios),
            ]
            for row in part["rows"]
        ),
    )


def training_table(part: Mapping[str, Any]) -> str:
    head = ["step", "batch", "images/s", "times plain", "share of matmul rate", "peak MiB"]
    return _table(
        head,
        (
            [
                f"{row['preset']}, {row['way']}",
                str(row["batch"]),
                f"{row['images_per_s']:.1f}",
                *(
                    f"{row[key]:.2f}" if key in row else ""
                    for key in ("times_plain", "share_of_matmul_rate")
                ),
                f"{row['peak_memory_mib'] or 0:.0f}",
            ]
            for row in part["rows"]
        ),
    )


def kernel_table(part: Mapping[str, Any]) -> str:
    """List the longest kernels of each call."""
    calls = {name: part[name] for name in part if name not in ("left_out", "seconds")}
    return _table(
        ["of", "kernel", "calls", "ms", "share"],
        (
            [
                name,
                f"`{row['kernel'][:50]}`",
                f"{row['calls']:.0f}",
                f"{row['ms']:.2f}",
                f"{row['share']:.0%}",
            ]
            for name, rows in calls.items()
            for row in rows[:SHOWN_KERNELS]
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table([list(head), *map(list, rows)])


if __name__ == "__main__":
    typer.run(main)
