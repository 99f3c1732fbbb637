"""The training loop, for distillation and for training a teacher alike.

A `Task` says what a step predicts; the terms of the loss say how good it is; this loop does the
rest: precision and devices (accelerate), the GAN, moving average, curves, saving and resuming.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from dvclive import Live
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcde.config import GanParams, OptimizerParams, RuntimeParams, TrainParams
from dcde.data import to_model_range
from dcde.devices import channels_last
from dcde.discriminator import PatchGAN, discriminator_loss, generator_loss
from dcde.errors import UserError
from dcde.losses import Prediction, Term
from dcde.runstate import atomic_torch_save, stop_requests
from dcde.schedules import learning_rate

Batch = dict[str, Tensor]


def make_accelerator(precision: str) -> Accelerator:
    """accelerate's view of the devices; `batch_size` is that of all processes together.

    Raises:
        UserError: if the device can't compute in that precision.
    """
    try:
        return Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
    except ValueError as error:
        raise UserError(f"precision: found {precision!r}, but here: {error}") from None


class Task(Protocol):
    """What is trained, and what one step of it computes."""

    module: nn.Module

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        """Run `module` (the wrapped form of `self.module`) on a batch.

        `batch["image"]` is (B, 3, H, W) in [-1, 1]; the loader may add more, such as "latent".
        """
        ...


@dataclass
class Position:
    """Where in the run the next step is."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Adversary:
    """PatchGAN's settings, where it takes part."""

    gan: GanParams
    optimizer: OptimizerParams


class Trainer:
    """Trains `task.module` in place; `run` returns when the last epoch is done.

    Args:
        loader: (epoch, batches to skip) to batches of {"pixels": uint8, ...}.
        weights_at: epoch to the weight of each term, `gamma` for the GAN.
        on_epoch: called after each epoch with its number and the module as it would be kept.
        state_dir: where the unfinished run is saved, and found again by the next call.
    """

    def __init__(
        self,
        task: Task,
        *,
        accelerator: Accelerator,
        terms: Mapping[str, Term],
        weights_at: Callable[[int], Mapping[str, float]],
        loader: Callable[[int, int], DataLoader[Batch]],
        samples_per_epoch: int,
        train: TrainParams,
        optimizer: OptimizerParams,
        adversary: Adversary | None,
        runtime: RuntimeParams,
        state_dir: Path,
        seed: int,
        on_epoch: Callable[[int, nn.Module], None],
    ) -> None:
        self.task, self.accelerator, self.terms = task, accelerator, terms
        self.weights_at, self.loader, self.on_epoch = weights_at, loader, on_epoch
        self.train, self.optimizer_params, self.adversary = train, optimizer, adversary
        self.runtime, self.state_dir = runtime, state_dir
        self.steps_per_epoch = samples_per_epoch // train.batch_size
        if self.steps_per_epoch == 0:
            raise UserError(
                f"batch_size: found {train.batch_size}, "
                f"expected at most the {samples_per_epoch} samples of an epoch"
            )
        self.position = Position()

        torch.manual_seed(seed)
        module = channels_last(task.module, accelerator.device)
        self.ema = (
            AveragedModel(
                module, multi_avg_fn=get_ema_multi_avg_fn(train.ema), use_buffers=True
            ).requires_grad_(False)
            if train.ema
            else None
        )
        if train.compile:
            module.compile()
        trainable = [p for p in module.parameters() if p.requires_grad]
        self.module, self.optimizer = accelerator.prepare(module, self._adamw(trainable, optimizer))
        if adversary is not None:
            discriminator = channels_last(PatchGAN(), accelerator.device)
            optimizer_d = self._adamw(list(discriminator.parameters()), adversary.optimizer)
            self.discriminator, self.optimizer_d = accelerator.prepare(discriminator, optimizer_d)

    @staticmethod
    def _adamw(parameters: list[nn.Parameter], params: OptimizerParams) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            parameters, lr=params.lr, weight_decay=params.weight_decay, fused=True
        )

    def run(self) -> None:
        """Train to the last epoch, from the saved state where there is one.

        Raises:
            UserError: if a loss is not finite, naming the term and the step; if memory runs out; if
                asked to stop by Ctrl-C or SIGTERM, after saving.
        """
        resumed = self._load()
        epochs, batch_size = self.train.epochs, self.train.batch_size
        with (
            stop_requests() as stopping,
            self._live(resumed) as live,
            tqdm(
                total=epochs * self.steps_per_epoch * batch_size,
                initial=self.position.samples,
                unit="image",
                disable=not self.accelerator.is_main_process,
            ) as bar,
        ):
            saved_at = time.monotonic()
            while self.position.epoch < epochs:
                epoch = self.position.epoch
                bar.set_description(f"epoch {epoch + 1}/{epochs}")
                weights = self.weights_at(epoch)
                self.module.train()
                loader = self.loader(epoch, self.position.batch)
                for batch in self.accelerator.prepare_data_loader(loader):
                    try:
                        logs = self._step(batch, weights)
                    except torch.OutOfMemoryError:
                        raise UserError(
                            f"out of memory at step {self.position.step}: lower batch_size or "
                            "crops.image_size, or set precision to bf16"
                        ) from None
                    bar.update(batch_size)
                    if self.position.step % self.runtime.log_every == 0 or "discriminator" in logs:
                        self._log(live, bar, logs, weights)
                    self.position.batch += 1
                    self.position.step += 1
                    due = time.monotonic() - saved_at > 60 * self.runtime.save_minutes
                    if due or stopping():
                        self._save()
                        saved_at = time.monotonic()
                    if stopping():
                        raise UserError(
                            f"stopped on request after step {self.position.step}, which is saved: "
                            "the same command goes on from there"
                        )
                self.position.epoch, self.position.batch = epoch + 1, 0
                if self.accelerator.is_main_process:
                    self.on_epoch(epoch, self.result())
                self._save()
                saved_at = time.monotonic()
        self.task.module.load_state_dict(self.result().state_dict())

    def _live(self, resumed: bool) -> AbstractContextManager[Live | None]:
        """The loss curves, which the main process alone writes."""
        if not self.accelerator.is_main_process:
            return nullcontext()
        folder = str(self.state_dir / "live")
        return Live(folder, resume=resumed, report=None, save_dvc_exp=False, dvcyaml=None)

    def result(self) -> nn.Module:
        """The module as it would be kept now: the moving average where there is one."""
        if self.ema is not None and self.ema.n_averaged > 0:
            return self.ema.module
        return self.accelerator.unwrap_model(self.module)

    def _step(self, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """One step of the generator and, when it is due, one of the discriminator."""
        epoch = self.position.epoch + self.position.batch / self.steps_per_epoch
        _set_lr(self.optimizer, learning_rate(self.optimizer_params, epoch, self.position.step))
        image = to_model_range(batch["pixels"]).contiguous(memory_format=torch.channels_last)
        batch = {**batch, "image": image}
        with self.accelerator.autocast():
            prediction = self.task.predict(self.module, batch)
            losses = {name: term(prediction) for name, term in self.terms.items()}
            if self.adversary is not None:
                plain = self.accelerator.unwrap_model(self.discriminator).requires_grad_(False)
                losses["gamma"] = generator_loss(
                    plain(prediction.image).float(), self.adversary.gan.loss
                )
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        if not math.isfinite(total.item()):
            bad = [name for name, value in losses.items() if not math.isfinite(value.item())]
            raise UserError(f"loss.{bad[0]}: not finite at step {self.position.step}")
        self.accelerator.backward(total)
        if self.train.grad_clip:
            self.accelerator.clip_grad_norm_(self.module.parameters(), self.train.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update_parameters(self.accelerator.unwrap_model(self.module))

        before = self.position.samples
        self.position.samples += self.train.batch_size
        if self.adversary is not None:
            ratio = self.adversary.gan.ratio
            if before // ratio != self.position.samples // ratio:
                losses["discriminator"] = self._discriminator_step(self.adversary, prediction)
        return {"total": total.detach(), **{k: v.detach() for k, v in losses.items()}}

    def _discriminator_step(self, adversary: Adversary, prediction: Prediction) -> Tensor:
        epoch = self.position.epoch + self.position.batch / self.steps_per_epoch
        _set_lr(self.optimizer_d, learning_rate(adversary.optimizer, epoch, self.position.step))
        self.discriminator.requires_grad_(True)
        with self.accelerator.autocast():
            real = self.discriminator(prediction.target)
            fake = self.discriminator(prediction.image.detach())
            loss = discriminator_loss(real.float(), fake.float(), adversary.gan.loss)
        self.accelerator.backward(loss)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad(set_to_none=True)
        return loss

    def _log(
        self,
        live: Live | None,
        bar: tqdm[Any],
        logs: Mapping[str, Tensor],
        weights: Mapping[str, float],
    ) -> None:
        values = {name: value.item() for name, value in logs.items()}
        bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        if live is None:
            return
        live.step = self.position.step
        for name, value in values.items():
            live.log_metric(f"loss/{name}", value)
        for name, weight in weights.items():
            live.log_metric(f"weight/{name}", weight)
        live.log_metric("lr", self.optimizer.param_groups[0]["lr"])
        live.make_summary()

    @property
    def _state_file(self) -> Path:
        return self.state_dir / "state.pt"

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        unwrap = self.accelerator.unwrap_model
        state: dict[str, Any] = {
            "position": asdict(self.position),
            "rng": torch.get_rng_state(),
            "module": unwrap(self.module).state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        if self.adversary is not None:
            state["discriminator"] = unwrap(self.discriminator).state_dict()
            state["optimizer_d"] = self.optimizer_d.state_dict()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        atomic_torch_save(state, self._state_file)

    def _load(self) -> bool:
        if not self._state_file.is_file():
            return False
        state = torch.load(
            self._state_file, map_location=self.accelerator.device, weights_only=True
        )
        unwrap = self.accelerator.unwrap_model
        self.position = Position(**state["position"])
        torch.set_rng_state(state["rng"].cpu())
        unwrap(self.module).load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.adversary is not None:
            unwrap(self.discriminator).load_state_dict(state["discriminator"])
            self.optimizer_d.load_state_dict(state["optimizer_d"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        _truncate_curves(self.state_dir / "live", self.position.step)
        tqdm.write(
            f"continuing at epoch {self.position.epoch + 1}, step {self.position.step}, "
            f"from {self._state_file}"
        )
        return True


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _truncate_curves(live_dir: Path, step: int) -> None:
    """Drop rows logged after the state was saved: the continued run logs them again."""
    for path in live_dir.rglob("*.tsv"):
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file, delimiter="\t"))
        kept = [row for row in rows if int(row[header.index("step")]) < step]
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *kept])
