"""The processes that share a run: one, or several that `accelerate launch` or torchrun started."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object

from dcde.base.errors import UserError
from dcde.base.work import locked


def process_state() -> PartialState:
    """Which of the processes this one is; the first call decides how they talk to each other."""
    return PartialState(
        # Without it, processes launched together on a machine without GPU ignore each other.
        cpu=not torch.cuda.is_available() and torch.distributed.is_torchelastic_launched(),
        # The main process caches latents and validates while the others wait.
        timeout=timedelta(hours=12),
    )


def make_accelerator(precision: str) -> Accelerator:
    """accelerate's view of the devices; `batch_size` is that of all processes together.

    Raises:
        UserError: if the device can't compute in that precision.
    """
    process_state()
    AcceleratorState._reset_state()  # a process may train again, in another precision
    try:
        accelerator = Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
            # Batch norms share their statistics, so that buffers are the same everywhere.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    except ValueError as error:
        raise UserError(f"precision: found {precision!r}, but here: {error}") from None
    if precision == "fp16" and accelerator.device.type == "cpu":  # it would train in fp32
        raise UserError(
            "precision: found 'fp16', but no GPU was found, and a CPU trains in fp32 or bf16: "
            "expected one of these"
        )
    return accelerator


@contextmanager
def cpu_accelerator(precision: str) -> Iterator[Accelerator]:
    """accelerate's view of this process on the CPU, whatever else there is; nothing of it stays."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield Accelerator(cpu=True, mixed_precision="no" if precision == "fp32" else precision)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def shared_run(state_dir: Path) -> Iterator[None]:
    """Keep every other run off an unfinished run's state; the processes that share it are one run.

    They take leave of each other at its end: a process that goes while it is still connected is
    now and then aborted by its own communication threads, which makes a finished run a failed one.

    Raises:
        UserError: on entering, if another run is at work on the same state.
    """
    process = process_state()
    busy = "another process is at work on this very run; wait for its end"
    with locked(state_dir, busy=busy) if process.is_main_process else nullcontext():
        yield
    process.destroy_process_group()


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set on any process; all must ask at the same point."""
    if accelerator.num_processes == 1:
        return flag
    if flag:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())


def check_same_step(step: int, folder: Path) -> None:
    """Refuse to go on from different places: machines that share no disk find different states.

    Args:
        step: where this process would go on.
        folder: where it looked for a saved state.

    Raises:
        UserError: on every process.
    """
    steps: list[int] = gather_object([step])  # alone, it is what was given
    if len(set(steps)) > 1:
        raise UserError(
            f"{folder}: the processes found different saved states, at steps {steps}: expected "
            "one folder for all, on a disk that the machines share"
        )


def check_launcher(launcher: str) -> None:
    """Refuse a command that no program of this machine answers to.

    Raises:
        UserError: with what was found.
    """
    program = next((word for word in launcher.split() if "=" not in word), "")
    if shutil.which(program) is None:
        raise UserError(
            f"launcher: found {launcher!r}, but there is no program {program!r} in PATH; expected "
            "python, or a command such as `accelerate launch --num_processes 2`"
        )


def check_batch_size(field: str, batch_size: int, samples: int, processes: int) -> None:
    """Refuse a batch that an epoch's samples do not fill, or that processes can't share.

    Args:
        field: the parameter that holds it.

    Raises:
        UserError: saying what was expected.
    """
    if batch_size > samples:
        raise UserError(
            f"{field}: found {batch_size}, expected at most the {samples} samples of an epoch"
        )
    if batch_size % processes:
        raise UserError(
            f"{field}: found {batch_size}, expected a multiple of the {processes} processes"
        )
