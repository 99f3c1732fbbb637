"""The training loop, for distillation and for training an autoencoder alike.

The `Learner` takes the steps. This loop does the rest: the order of data and epochs, the
discriminator's turns, saving, resuming, curves, and steps that fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from accelerate.utils.memory import should_reduce_batch_size
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dcde.base.errors import UserError
from dcde.base.processes import any_process, check_same_step
from dcde.data.crops import Crop
from dcde.data.plan import EpochPlan
from dcde.params.training import TrainParams
from dcde.train.bad_steps import MAX_BAD_STEPS, NotFiniteError
from dcde.train.learner import Batch, Learner
from dcde.train.progress import Progress
from dcde.train.run_state import Position, RunState, outlive_stop_requests, stop_requests

LESS_MEMORY = (
    "lower batch_size (accumulation_steps makes up for it) or crops.image_size, set precision to "
    "bf16, or checkpoint_activations to true"
)
"""Advice for a step that takes too much memory."""
CURVE_POINTS = 300
"""Points of the loss curves, about."""
SAVING_SHARE = 0.01
"""Share of the time that goes into saving states within an epoch, at most."""


class Trainer:
    """Trains the learner's module in place; `run` returns when the last epoch is done.

    Args:
        weights_at: epoch to the weight of each loss term in use, `gamma` among them.
        plan: the crops of each epoch, at least a batch (see `check_batch_size`).
        dataset: crops to items of {"pixels": uint8, ...}, in their order.
        workers: processes that load the data; 0: this one does.
        state_dir: where the unfinished run is saved, and where the next call finds it.
        on_epoch: called in the main process after each epoch with its number and the module as it
            would be kept; returns scores to show as curves.
        resting: epoch to the parameters that do not train in it.
    """

    def __init__(
        self,
        learner: Learner,
        train: TrainParams,
        *,
        weights_at: Callable[[int], Mapping[str, float]],
        plan: EpochPlan,
        dataset: Callable[[Sequence[Crop]], Dataset[Batch]],
        workers: int,
        state_dir: Path,
        on_epoch: Callable[[int, nn.Module], Mapping[str, float]],
        resting: Callable[[int], Collection[nn.Parameter]] = lambda epoch: (),
    ) -> None:
        self.learner, self.train, self.workers = learner, train, workers
        self.weights_at, self.plan, self.dataset = weights_at, plan, dataset
        self.on_epoch, self.resting = on_epoch, resting
        self.accelerator = learner.accelerator
        self.batches_per_epoch = plan.samples // train.batch_size
        steps = train.epochs * self.batches_per_epoch // train.accumulation_steps
        self.log_every = max(1, steps // CURVE_POINTS)
        self.state = RunState(state_dir, learner.parts())

    def run(self) -> None:
        """Train to the last epoch, from the saved state if there is one.

        Raises:
            UserError: if more than `MAX_BAD_STEPS` failed, naming the loss, the step and its files;
                if memory runs out; if asked to stop by Ctrl-C or SIGTERM, after saving; if the
                processes found different saved states.
        """
        resumed = self.state.resume()
        self.position = resumed or Position()
        check_same_step(self.position.step, self.state.folder)
        batch_size = self.train.batch_size
        batches_done = self.position.epoch * self.batches_per_epoch + self.position.batch
        with (
            stop_requests() as self.stopping,
            Progress(
                self.state.folder / "live",
                samples=self.train.epochs * self.batches_per_epoch * batch_size,
                samples_done=batches_done * batch_size,
                steps_done=self.position.step,
                shown=self.accelerator.is_main_process,
            ) as self.progress,
        ):
            self._say_where_it_starts(continuing=resumed is not None)
            self.save_at = time.monotonic()
            while self.position.epoch < self.train.epochs:
                self._epoch()
        self.learner.task.module.load_state_dict(self.learner.result().state_dict())

    def _say_where_it_starts(self, *, continuing: bool) -> None:
        folder, at = self.state.folder, self.position
        if continuing:
            self.progress.note(f"continuing at epoch {at.epoch + 1}, step {at.step}, from {folder}")
        elif foreign := self.state.foreign():
            names = ", ".join(path.name for path in foreign)
            self.progress.note(
                f"starting anew in {folder}. The unfinished runs beside it ({names}) have other "
                "parameters, data or code; they continue once these are back"
            )

    def _epoch(self) -> None:
        """Finish the epoch, score it and save."""
        at, began, self.waited = self.position, time.monotonic(), 0.0
        name = f"epoch {at.epoch + 1}/{self.train.epochs}"
        self.progress.bar.set_description(name)
        self.learner.ddp.train()
        crops, weights = self.plan.crops(at.epoch), self.weights_at(at.epoch)
        for batches in self._windows(crops):
            files = crops[at.batch * self.train.batch_size :][: self._samples(batches)]
            try:
                self._step(batches, weights)
            except NotFiniteError as bad:
                self._skip(bad, files)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                raise UserError(f"out of memory at step {at.step}: {LESS_MEMORY}") from None
            self.progress.bar.update(self._samples(batches))
            at.batch += len(batches)
            at.step += 1
            if at.batch < self.batches_per_epoch:
                self._save_if_due()
        scores: Mapping[str, float] = {}
        if self.accelerator.is_main_process:
            scores = self.on_epoch(at.epoch, self.learner.result())
            self.progress.log(at.step - 1, {f"validation/{k}": v for k, v in scores.items()})
        seconds = time.monotonic() - began
        waiting = f"{self.waited / seconds:.0%} of it waiting for data"
        shown = "".join(f", {k} {v:.4g}" for k, v in scores.items())
        self.progress.note(f"{name}: {seconds:.0f} s, {waiting}{shown}")
        at.epoch, at.batch = at.epoch + 1, 0
        # The scores' curves would get a second row if the run could resume between the last step
        # and this point.
        self._save_if_due(now=True)

    def _windows(self, crops: Sequence[Crop]) -> Iterator[list[Batch]]:
        """Yield the epoch's remaining batches, as many together as make one step."""
        left = crops[self.position.batch * self.train.batch_size :]
        loader = DataLoader(
            self.dataset(left),
            self.train.batch_size,
            num_workers=self.workers,
            worker_init_fn=outlive_stop_requests,
            drop_last=True,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        batches = iter(self.accelerator.prepare_data_loader(loader))
        while True:
            began = time.monotonic()
            window = list(islice(batches, self.train.accumulation_steps))
            self.waited += time.monotonic() - began
            if not window:
                return
            yield window

    def _samples(self, batches: Sequence[Batch]) -> int:
        return len(batches) * self.train.batch_size

    def _step(self, batches: Sequence[Batch], weights: Mapping[str, float]) -> None:
        """Take one step of the module and, if it is due, one of the discriminator."""
        at, adversary = self.position, self.learner.adversary
        epoch = at.epoch + at.batch / self.batches_per_epoch
        rates = {"lr": self.learner.lr(epoch, at.step)}
        prediction, losses = self.learner.step(
            batches, weights, lr=rates["lr"], resting=self.resting(at.epoch)
        )
        before = at.samples
        at.samples += self._samples(batches)
        if adversary is not None:
            rates["lr_discriminator"] = adversary.lr(epoch)
            if adversary.due(before, at.samples):
                losses["discriminator"] = adversary.step(prediction, rates["lr_discriminator"])
        if at.step % self.log_every == 0 or "discriminator" in losses:
            self._log(losses, weights, rates)

    def _skip(self, bad: NotFiniteError, crops: Sequence[Crop]) -> None:
        """Count a step that failed; stop the run if there were too many."""
        at = self.position
        at.bad_steps += 1
        files = ", ".join(sorted({crop.path for crop in crops}))
        if at.bad_steps > MAX_BAD_STEPS:
            raise UserError(
                f"step {at.step}: {bad}. {MAX_BAD_STEPS} steps were skipped before it, the most "
                f"that a run may have. The step's files: {files}"
            )
        self.progress.note(
            f"step {at.step}: {bad}: skipped (number {at.bad_steps} of at most {MAX_BAD_STEPS}); "
            f"the step's files: {files}"
        )
        self.progress.log(at.step, {"bad_steps": at.bad_steps})

    def _log(
        self, losses: Mapping[str, float], weights: Mapping[str, float], rates: Mapping[str, float]
    ) -> None:
        shown = {name: f"{value:.4g}" for name, value in losses.items()}
        self.progress.bar.set_postfix(shown, refresh=False)
        curves = {f"loss/{name}": value for name, value in losses.items()}
        curves |= {f"weight/{name}": value for name, value in weights.items()}
        if self.accelerator.scaler is not None:
            curves["loss_scale"] = self.accelerator.scaler.get_scale()
        self.progress.log(self.position.step, curves | dict(rates))

    def _save_if_due(self, *, now: bool = False) -> None:
        """Save if it is time or a process was asked to stop, and then do stop.

        Raises:
            UserError: after saving, on every process at the same step.
        """
        stop = any_process(self.accelerator, self.stopping())
        if self.accelerator.is_main_process and (now or stop or time.monotonic() > self.save_at):
            began = time.monotonic()
            self.state.save(self.position)
            ended = time.monotonic()
            self.save_at = ended + (ended - began) / SAVING_SHARE
        if stop:
            raise UserError(
                f"stopped on request after step {self.position.step}. The state is saved, and the "
                "same command continues from it"
            )
