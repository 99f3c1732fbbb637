"""A few of many items, at even intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """`count` of the items at even intervals, or all where there are fewer."""
    return items[:: max(1, len(items) // count)][:count]
