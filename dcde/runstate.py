"""The saved state of an unfinished run: one file, replaced atomically, read back exactly."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dcde.checkpoint import save_model
from dcde.errors import UserError
from dcde.files import sha256_of, whole_file
from dcde.model import DCAE


def atomic_torch_save(value: Any, path: Path) -> None:
    """Save so that a kill leaves the old file or the new, never a part.

    Raises:
        UserError: if the disk is full, say; the old file is untouched and no partial one stays.
    """
    try:
        with whole_file(path) as partial:
            torch.save(value, partial)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into the latter
        raise UserError(
            f"{path}: can't be written ({error}); the state saved before it is kept"
        ) from None


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Catch SIGINT (Ctrl-C) and SIGTERM; the function yielded says whether one has come.

    A long loop asks it between steps, saves and stops, rather than being cut in the middle of one.
    """
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in signals}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_key(settings: Any, files: Iterable[Path]) -> str:
    """A name for a run: its settings and the content of its input files and code.

    A run with anything changed gets another name, so that it never continues a foreign state.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in files:
        digest.update(sha256_of(path).encode())
    return digest.hexdigest()[:16]


def finish_run(model: DCAE, out: Path, state_dir: Path, curves: Path) -> None:
    """Keep a finished run's model and loss curves, then drop its state.

    Raises:
        UserError: if the model can't be written; the state is kept.
    """
    save_model(model, out)
    shutil.copytree(state_dir / "live", curves)
    shutil.rmtree(state_dir)


def work_dir() -> Path:
    """Where caches and unfinished runs live: git-ignored, outside of every DVC output."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".dcde"
