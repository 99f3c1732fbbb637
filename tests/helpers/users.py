"""Another user of the machine, as whom we own nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_to_others(tmp_path: Path) -> None:
    """Let others into a test's folder: pytest's are for their owner alone."""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(0o755)
        if folder.name.startswith("pytest-of-"):
            break


@contextmanager
def another_user(umask: int = 0o022) -> Iterator[None]:
    """Become a user who owns nothing, if we are root."""
    us, before = os.geteuid(), os.umask(umask)
    if us == 0:
        os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(us)
        os.umask(before)
