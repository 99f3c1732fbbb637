"""Show a run while it trains: a bar, lines above it, and curves for `dvc plots`."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from dvclive import Live


class Progress:
    """The bar and the curves of a run, which `shown=False` (all processes but one) silences.

    Args:
        live_dir: where DVCLive writes the curves.
        steps_done: steps that the continued run has behind it; later rows are dropped.
    """

    def __init__(
        self, live_dir: Path, *, samples: int, samples_done: int, steps_done: int, shown: bool
    ) -> None:
        self.bar: tqdm[Any] = tqdm(
            total=samples, initial=samples_done, unit="image", disable=not shown
        )
        self.live: Live | None = None
        if not shown:
            return
        try:
            from dvclive import Live  # here, as it takes long, and `dcde check` does without
        except ImportError:  # on a borrowed GPU, say
            self.note("no curves are written: DVCLive is not installed")
            return
        _mend(live_dir, steps_done)
        self.live = Live(
            str(live_dir), resume=steps_done > 0, report=None, save_dvc_exp=False, dvcyaml=None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()
        if self.live is not None:
            self.live.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        if not self.bar.disable:
            tqdm.write(line)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A row for each curve; `a/b` is curve b of group a."""
        if self.live is None:
            return
        self.live.step = step
        for name, value in values.items():
            self.live.log_metric(name, value)
        self.live.make_summary()


def _mend(live_dir: Path, step: int) -> None:
    """Make a killed run's curves what they were when its state was saved.

    Rows logged since then are dropped, as the continued run logs them again; so is a summary that
    the kill left half written, which DVCLive makes anew.
    """
    for path in live_dir.rglob("*.tsv"):
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file, delimiter="\t"))
        whole = [row for row in rows if len(row) == len(header)]
        kept = [row for row in whole if int(row[header.index("step")]) < step]
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *kept])
    summary = live_dir / "metrics.json"
    try:
        json.loads(summary.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        summary.unlink()
