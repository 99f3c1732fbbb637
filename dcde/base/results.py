"""Write metrics as JSON and tables as CSV, which DVC reads."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcde.base.errors import UserError
from dcde.base.files import whole_file

DIGITS = 6
"""Significant digits of a metric."""


def write_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Write metrics with sorted keys, rounded to significant digits.

    Raises:
        ValueError: naming a metric that is not finite.
    """
    clean = _clean(metrics, "")
    with whole_file(path) as partial:
        partial.write_text(json.dumps(clean, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _clean(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _clean(v, f"{name}.{k}" if name else k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v, f"{name}.{i}") for i, v in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name}: found {value}, expected a finite number")
        return float(f"{value:.{DIGITS}g}")
    return value


def write_table(
    rows: Sequence[Mapping[str, Any]], path: Path, columns: Sequence[str] | None = None
) -> None:
    """Write rows as CSV, with floats rounded like metrics; None is an empty cell.

    Args:
        columns: to write even without rows; None: all columns of the first row.
    """
    with whole_file(path) as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        table.writeheader()
        table.writerows(_clean(row, "") for row in rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file that `write_table` wrote.

    Raises:
        UserError: if it is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found, expected a table that `dvc repro` makes")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
