"""An unfinished run: its saved state, how it is stopped and how it ends."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dcde.base.errors import UserError
from dcde.base.files import whole_file, whole_folder
from dcde.model import DCAE
from dcde.model.checkpoint import save_model


def atomic_torch_save(value: Any, path: Path) -> None:
    """Save so that a kill leaves the old file or the new one, never a part.

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


STATE = "state.pt"


@dataclass
class Position:
    """The position of the next step in the run."""

    epoch: int = 0
    batch: int = 0
    """Batches of the epoch that are done."""
    step: int = 0
    """Steps of the optimizer, skipped ones included."""
    samples: int = 0
    """Samples that the module was trained on."""
    bad_steps: int = 0
    """Steps of the run that were skipped."""


class RunState:
    """The state of an unfinished run, saved together and restored exactly.

    Args:
        parts: modules, optimizers and whatever else has a `state_dict`, by name.
    """

    def __init__(self, folder: Path, parts: Mapping[str, Any]) -> None:
        self.folder, self.parts = folder, parts

    def save(self, position: Position) -> None:
        """Write all parts to the folder.

        Raises:
            UserError: if the disk is full, say; the state saved before stays.
        """
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        state = {"position": asdict(position), "rng": torch.get_rng_state(), **parts}
        atomic_torch_save(state, self.folder / STATE)

    def resume(self) -> Position | None:
        """Restore all parts from the last save and return its position; None if there is none."""
        path = self.folder / STATE
        if not path.is_file():
            return None
        # The parts copy what they load to their own devices.
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        return Position(**state["position"])

    def foreign(self) -> list[Path]:
        """Unfinished runs beside this one: of other parameters, data or code."""
        folders = {path.parent for path in self.folder.parent.glob(f"*/{STATE}")}
        return sorted(folders - {self.folder})


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C's, and the one by which schedulers and containers stop a run."""


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Catch `STOP_SIGNALS`; the function yielded says whether one has come.

    A long loop asks it between steps, saves and stops, rather than being cut in the middle of one.
    """
    received: list[int] = []
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in STOP_SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outlive_stop_requests(worker: int) -> None:
    """Ignore `STOP_SIGNALS` in a process that loads images: they go to a run's whole group.

    It ends with its loader, once the training process has saved.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def finish_run(model: DCAE, out: Path, state_dir: Path, keep: Mapping[str, Path]) -> None:
    """Write a finished run's model, keep some folders of its state, and drop the rest.

    Each output replaces that of the last run, and appears whole or not at all.

    Args:
        keep: folder in `state_dir` to where it goes.

    Raises:
        UserError: if the model can't be written; the state is kept.
    """
    save_model(model, out)
    for name, destination in keep.items():
        with whole_folder(destination) as partial:
            shutil.copytree(state_dir / name, partial, dirs_exist_ok=True)
    shutil.rmtree(state_dir)
