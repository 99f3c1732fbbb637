"""Does choosing pay? Ways of pruning at equal cost, before and after the same distillation.

    python -m benchmarks.pruning

Each way is a DVC experiment on the commit at hand, about five minutes on two CPU cores; one that
has run before is not run again (`dvc exp remove` forgets it). Latency is a ratio to the teacher's,
measured in turns with it.
"""

from __future__ import annotations

import subprocess
import sys

from dcde.report.experiments import Experiment, read_experiments
from dcde.report.tables import markdown_table

ORIGINAL = "first blocks"
CUT = "prune.repair=false"  # what is compared is the choice alone
WHOLE = ["prune.inner_ratio=null", "prune.channels=null", CUT]
BLOCKS = ["prune.depth_list=[0,1,2,1,1]", *WHOLE]
NARROW = ["prune.channels=activation", CUT]
WAYS: dict[str, list[str]] = {
    ORIGINAL: ["prune.method=direct", *BLOCKS],
    "last blocks": ["prune.method=last", *BLOCKS],
    "even blocks": ["prune.method=gap", *BLOCKS],
    "fresh weights": ["prune.method=random", *BLOCKS],
    "influence": ["prune.method=influence", *BLOCKS],
    "budget": [
        "prune.method=influence",
        "prune.depth_list=null",
        "prune.budget={decoder_macs: 0.3432}",
        *WHOLE,
    ],
    "half as wide inside": [
        "prune.depth_list=[0,2,4,1,2]",
        "prune.inner_ratio=[1,0.5,0.5,0.5,0.5]",
        *NARROW,
    ],
    "a quarter as wide inside": [
        "prune.depth_list=[0,3,6,2,2]",
        "prune.inner_ratio=[1,0.25,0.25,0.25,0.25]",
        *NARROW,
    ],
}
"""Name to changes of params.yaml."""


def experiment_name(way: str) -> str:
    return "pruning-" + way.replace(" ", "-")


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True)


def main() -> None:
    done = {run.name for run in read_experiments()}
    waiting = {way: name for way in WAYS if (name := experiment_name(way)) not in done}
    for way, name in waiting.items():
        changes = [part for change in WAYS[way] for part in ("-S", change)]
        dvc("exp", "run", "--queue", "--force", "--name", name, *changes)
    if waiting:
        dvc("exp", "run", "--run-all")
    found = {run.name: run for run in read_experiments()}
    print(table({way: found[experiment_name(way)] for way in WAYS}))


def table(runs: dict[str, Experiment]) -> str:
    """Markdown; the gap is the student's LPIPS minus the teacher's."""
    original = runs[ORIGINAL].metrics["gap.lpips"]
    head = ["way", "MACs %", "latency", "pruned PSNR dB", "pruned LPIPS"]
    rows = [[*head, "PSNR dB", "LPIPS", "fd_lite0", "LPIPS gap", "gap over the original's"]]
    for way, run in runs.items():
        found = run.metrics
        cost = [f"{run.decoder_macs_percent:.1f}", f"{found['student.latency_over_teacher']:.2f}"]
        before = [f"{found['pruned.psnr_db']:.2f}", f"{found['pruned.lpips']:.3f}"]
        after = [f"{found['student.psnr_db']:.2f}", f"{found['student.lpips']:.4f}"]
        after.append(f"{found['student.fd_lite0']:.1f}")
        gaps = [f"{found['gap.lpips']:+.4f}", f"{found['gap.lpips'] / original:.2f}"]
        rows.append([way, *cost, *before, *after, *gaps])
    return markdown_table(rows)


if __name__ == "__main__":
    main()
