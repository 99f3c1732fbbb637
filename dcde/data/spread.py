"""A few of many items, at even intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """`count` of the items at even intervals, or all where there are fewer.

    >>> spread("abcdefgh", 6)
    ['a', 'b', 'c', 'e', 'f', 'g']
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
