"""The training loop, for distillation and for training a teacher alike.

A `Task` says what a step predicts, the terms of the loss say how good it is, `Learner` takes the
step; this loop does the rest: the order of data and epochs, the discriminator's turns, saving,
resuming, curves, and what to do about steps that fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dcde.base.errors import UserError
from dcde.base.processes import any_process, check_same_step
from dcde.base.recipe import GanParams, OptimizerParams, RuntimeParams, TrainParams
from dcde.data.crops import Crop
from dcde.data.plan import EpochPlan
from dcde.train.adversary import Adversary
from dcde.train.bad_steps import NotFiniteError
from dcde.train.learner import Batch, Learner, Task
from dcde.train.losses import Term
from dcde.train.progress import Progress
from dcde.train.run_state import Position, RunState, stop_requests
from dcde.train.schedules import learning_rate

SUSPECT_AFTER = 3
"""Steps failing in a row from which the weights are suspected: one bad file fails one step."""
LESS_MEMORY = (
    "lower batch_size (accumulation_steps makes up for it) or crops.image_size, set precision to "
    "bf16, or checkpoint_activations to true"
)
"""What to do where a step takes too much."""
EPOCH_START = "epoch_start.pt"
"""The state as the current epoch began, to which suspect weights go back."""


class Trainer:
    """Trains `task.module` in place; `run` returns when the last epoch is done.

    Args:
        weights_at: epoch to the weight of each term, `gamma` for the GAN.
        plan: which crops each epoch trains on, at least a batch (see `check_batch_size`).
        dataset: crops to items of {"pixels": uint8, ...}, in their order.
        adversary: PatchGAN's settings, where it takes part.
        on_epoch: called in the main process after each epoch with its number and the module as it
            would be kept; returns scores to show as curves.
        resting: epoch to the parameters that do not train in it.
        state_dir: where the unfinished run is saved, and found again by the next call.
    """

    def __init__(
        self,
        task: Task,
        *,
        accelerator: Accelerator,
        terms: Mapping[str, Term],
        weights_at: Callable[[int], Mapping[str, float]],
        plan: EpochPlan,
        dataset: Callable[[Sequence[Crop]], Dataset[Batch]],
        train: TrainParams,
        optimizer: OptimizerParams,
        adversary: tuple[GanParams, OptimizerParams] | None,
        runtime: RuntimeParams,
        state_dir: Path,
        seed: int,
        on_epoch: Callable[[int, nn.Module], Mapping[str, float]],
        resting: Callable[[int], Collection[nn.Parameter]] = lambda epoch: (),
    ) -> None:
        self.task, self.accelerator = task, accelerator
        self.weights_at, self.plan, self.dataset = weights_at, plan, dataset
        self.train, self.optimizer_params, self.runtime = train, optimizer, runtime
        self.on_epoch, self.resting = on_epoch, resting
        self.batches_per_epoch = plan.samples // train.batch_size

        torch.manual_seed(seed)  # of the discriminator's weights
        self.adversary = Adversary(*adversary, accelerator) if adversary else None
        self.learner = Learner(
            task,
            accelerator=accelerator,
            terms=terms,
            train=train,
            optimizer=optimizer,
            adversary=self.adversary,
        )
        parts = self.learner.parts()
        parts |= self.adversary.parts() if self.adversary is not None else {}
        parts |= {"scaler": accelerator.scaler} if accelerator.scaler is not None else {}
        self.state = RunState(state_dir, parts)

    def run(self) -> None:
        """Train to the last epoch, from the saved state where there is one.

        Raises:
            UserError: if more than `max_bad_steps` failed, naming the term, the step and its files;
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
            self.saved_at = time.monotonic()
            while self.position.epoch < self.train.epochs:
                self._epoch()
        self.task.module.load_state_dict(self.learner.result().state_dict())

    def _say_where_it_starts(self, *, continuing: bool) -> None:
        folder, at = self.state.folder, self.position
        if continuing:
            self.progress.note(f"continuing at epoch {at.epoch + 1}, step {at.step}, from {folder}")
        elif foreign := self.state.foreign():
            names = ", ".join(path.name for path in foreign)
            self.progress.note(
                f"starting anew in {folder}. The unfinished runs beside it ({names}) have other "
                "parameters, data or code, and are continued when these are what they were again. "
                f"`dcde cache clear {folder.parent.name}` removes them"
            )

    def _epoch(self) -> None:
        """What is left of the epoch, then its scores and a saved state."""
        at, began, self.waited = self.position, time.monotonic(), 0.0
        name = f"epoch {at.epoch + 1}/{self.train.epochs}"
        self.progress.bar.set_description(name)
        if at.batch == 0 and at.bad_in_a_row == 0:
            self._save(EPOCH_START)
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
        # Saved together with the epoch's end only: the scores' curves would get a second row if
        # the run could go on between the last step and them.
        self._save_if_due(now=True)

    def _windows(self, crops: Sequence[Crop]) -> Iterator[list[Batch]]:
        """The epoch's batches, from the position on, as many together as make one step."""
        left = crops[self.position.batch * self.train.batch_size :]
        loader = DataLoader(
            self.dataset(left),
            self.train.batch_size,
            num_workers=self.runtime.loader_workers(),
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
        """One step of the module and, when it is due, one of the discriminator."""
        at, adversary = self.position, self.adversary
        epoch = at.epoch + at.batch / self.batches_per_epoch
        rates = {"lr": learning_rate(self.optimizer_params, epoch, at.step)}
        if adversary is not None:
            weights = adversary.weights(weights, epoch)
        prediction, losses = self.learner.step(
            batches, weights, lr=rates["lr"], resting=self.resting(at.epoch)
        )
        before = at.samples
        at.samples += self._samples(batches)
        if adversary is not None and "gamma" in weights:
            rates["lr_discriminator"] = adversary.lr(epoch, at.step)
            if adversary.due(before, at.samples):
                losses["discriminator"] = adversary.step(prediction, rates["lr_discriminator"])
        at.bad_in_a_row = 0
        if at.step % self.runtime.log_every == 0 or "discriminator" in losses:
            self._log(losses, weights, rates)

    def _skip(self, bad: NotFiniteError, crops: Sequence[Crop]) -> None:
        """Count a step that failed and go on, or back to the epoch's start, or not at all."""
        at, most = self.position, self.train.max_bad_steps
        at.bad_steps += 1
        at.bad_in_a_row += 1
        files = ", ".join(sorted({crop.path for crop in crops}))
        if at.bad_steps > most:
            raise UserError(
                f"step {at.step}: {bad}. Before it {most} bad steps were skipped, which is the "
                f"most that max_bad_steps allows. The step's files: {files}"
            )
        self.progress.note(
            f"step {at.step}: {bad}: skipped, as bad step {at.bad_steps} of at most {most}; the "
            f"step's files: {files}"
        )
        self.progress.log(at.step, {"bad_steps": at.bad_steps})
        if at.bad_in_a_row == SUSPECT_AFTER:
            saved = self.state.restore(EPOCH_START)
            self.progress.note(
                f"{SUSPECT_AFTER} bad steps in a row: weights, optimizers and averages go back to "
                f"the start of epoch {saved['position']['epoch'] + 1}, the data goes on"
            )

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
        """Save where time is up or a process was asked to stop, and then do stop.

        Raises:
            UserError: after saving, on every process at the same step.
        """
        stop = any_process(self.accelerator, self.stopping())
        if now or stop or time.monotonic() - self.saved_at > 60 * self.runtime.save_minutes:
            self._save()
        if stop:
            raise UserError(
                f"stopped on request after step {self.position.step}. The state is saved, and the "
                "same command continues from it"
            )

    def _save(self, *name: str) -> None:
        if self.accelerator.is_main_process:
            self.state.save(self.position, *name)
            self.saved_at = time.monotonic()
