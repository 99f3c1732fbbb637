"""Settings as text: `section.key=value`, the form that `dvc exp run -S` takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

PLAIN = re.compile(r"[a-zA-Z/.][\w/.:@+-]*", re.ASCII)
"""Text that needs no quotes in an override."""
WORDS = {"true", "false", "null", "inf", "nan"}
"""Text that would mean something else without quotes."""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as `section.key` to value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return `section.key=value` for each setting, as Hydra's parser reads it, which DVC uses."""
    return [f"{name}={value_text(value)}" for name, value in settings.items()]


def value_text(value: Any) -> str:
    """Return a value as an override writes it, without spaces outside of quotes.

    >>> value_text([1, 0.25, None])
    '[1,0.25,null]'
    """
    if isinstance(value, list):
        return "[" + ",".join(map(value_text, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
