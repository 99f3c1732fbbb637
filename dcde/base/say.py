"""What a stage tells the person who runs it: what it will do, and at its end what it wrote."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from dcde.base.results import write_metrics
from dcde.base.work import declared_stage, work_dir


def say(line: str) -> None:
    """Print a line at once; of several processes that share a run, the first prints it."""
    if _is_first_process():
        print(line, flush=True)


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # as torchrun and `accelerate launch` number them


@contextmanager
def told(stage: str, pipeline: Path = Path("dvc.yaml")) -> Iterator[None]:
    """Run a stage between two lines: its description in dvc.yaml, and what it wrote in what time.

    The first line also has the time that the stage took when it ran last, here or in an experiment.

    Raises:
        UserError: if there is no dvc.yaml.
    """
    declared = declared_stage(stage, pipeline)
    kept = work_dir() / "seconds.json"
    seconds: dict[str, int] = json.loads(kept.read_text()) if kept.exists() else {}
    name = f"{pipeline}:{stage}"
    last = f" ({timedelta(seconds=seconds[name])} the last time)" if name in seconds else ""
    say(f"{stage}: {declared['desc']}{last}")
    start = time.monotonic()
    yield
    outs = [*declared.get("outs", ()), *declared.get("metrics", ())]
    written = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    taken = round(time.monotonic() - start)
    say(f"{stage}: wrote {', '.join(written)} in {timedelta(seconds=taken)}")
    if _is_first_process():
        write_metrics({**seconds, name: taken}, kept)
