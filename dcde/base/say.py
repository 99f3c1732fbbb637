"""Tell the person who runs a stage what it does, and in the end what it wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from dcde.base.work import declared_stage


def say(line: str) -> None:
    """Print a line at once; of several processes that share a run, only the first prints."""
    if os.environ.get("RANK", "0") == "0":  # as torchrun and `accelerate launch` number them
        print(line, flush=True)


@contextmanager
def told(stage: str, pipeline: Path = Path("dvc.yaml")) -> Iterator[None]:
    """Run a stage between two lines: its description in dvc.yaml, and its outputs with the time.

    Raises:
        UserError: if there is no dvc.yaml.
    """
    declared = declared_stage(stage, pipeline)
    say(f"{stage}: {declared['desc']}")
    start = time.monotonic()
    yield
    outs = [*declared.get("outs", ()), *declared.get("metrics", ())]
    written = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    taken = timedelta(seconds=round(time.monotonic() - start))
    say(f"{stage}: wrote {', '.join(written)} in {taken}")
