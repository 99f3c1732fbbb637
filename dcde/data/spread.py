"""Pick a few of many items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Return `count` of the items at even intervals, or all if there are fewer.

    >>> spread("abcdefgh", 6)
    ['a', 'b', 'c', 'e', 'f', 'g']
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
