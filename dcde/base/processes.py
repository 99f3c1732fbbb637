"""The processes that share a run: one, or several that `accelerate launch` or torchrun started."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator, DataLoaderConfiguration, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import nn

from dcde.base.errors import UserError
from dcde.base.work import locked

M = TypeVar("M", bound=nn.Module)


def process_state() -> PartialState:
    """Return this process's place among all; the first call sets up their communication."""
    return PartialState(
        # Without it, processes launched together on a machine without GPU ignore each other.
        cpu=not torch.cuda.is_available() and torch.distributed.is_torchelastic_launched(),
        # The main process caches latents and validates while the others wait.
        timeout=timedelta(hours=12),
    )


def make_accelerator(precision: str) -> Accelerator:
    """Return accelerate's accelerator; a loader's batch size is split among the processes.

    Raises:
        UserError: if the device can't compute in that precision.
    """
    process_state()
    AcceleratorState._reset_state()  # a process may train again, in another precision
    try:
        accelerator = Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
            # GPUs share batch norm statistics, so that buffers are the same everywhere.
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
def shared_run(state_dir: Path) -> Iterator[None]:
    """Lock an unfinished run's state against other runs; the processes that share it are one run.

    They shut down together: a process that exits while still connected is sometimes aborted by its
    own communication threads, which makes a finished run look failed.

    Raises:
        UserError: on entering, if another run is at work on the same state.
    """
    process = process_state()
    busy = "another process is working on this run; wait until it ends"
    with locked(state_dir, busy=busy) if process.is_main_process else nullcontext():
        yield
    process.destroy_process_group()


def share_batch_norms(module: M, device: torch.device) -> M:
    """Let batch norms on GPUs see the batches of all processes, whatever their number.

    On CPUs, each process normalizes its own share of a batch.
    """
    if device.type == "cpu" or PartialState().num_processes == 1:
        return module
    shared: M = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return shared


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Return whether the flag is set on any process; all must call it at the same point."""
    if accelerator.num_processes == 1:
        return flag
    if flag:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())


def check_same_step(step: int, folder: Path) -> None:
    """Reject different starting points: machines that share no disk find different states.

    Args:
        step: where this process would continue.
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
    """Reject a launcher whose program is not installed.

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
    """Reject a batch that an epoch's samples do not fill, or that processes can't share evenly.

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
