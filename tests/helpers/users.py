"""Another user of the machine, as whom we own nothing."""

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
def another_user() -> Iterator[None]:
    """Become a user who owns nothing, if we are root."""
    root = os.geteuid() == 0
    if root:
        os.setresuid(12345, 12345, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
