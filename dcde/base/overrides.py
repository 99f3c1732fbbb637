"""Settings as text: `section.key=value`, as `dvc exp run -S` takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

PLAIN = re.compile(r"[a-zA-Z/.][\w/.:@+-]*")
"""Text that needs no quotes in an override."""
WORDS = {"true", "false", "null", "inf", "nan"}
"""Text that would be read as something else without them."""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.key` to value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """`section.key=value` for each `section.key`, values as DVC reads them (by Hydra's parser)."""
    return [f"{name}={value_text(value)}" for name, value in settings.items()]


def value_text(value: Any) -> str:
    """A value as it stands in an override, without spaces but those in quotes.

    >>> value_text({"decoder_macs": 0.35})
    '{decoder_macs:0.35}'
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{value_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(value_text, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
