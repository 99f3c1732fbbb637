"""Which share of a long run each of its parts takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcde.base.devices import synchronize


class TimeShares:
    """Seconds of each part; a part ends when the device has done what it was given."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block as this part's."""
        began = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def __str__(self) -> str:
        """`12 s: decode 60%, lpips 40%`, the longest part first."""
        total = sum(self.seconds.values())
        longest = sorted(self.seconds.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in longest)
        return f"{total:.0f} s: {shares}"
