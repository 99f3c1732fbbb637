"""The network that trains, and one step of it: losses, gradients, optimizer, moving average."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dcde.base.devices import channels_last
from dcde.base.processes import share_batch_norms
from dcde.data.pixels import to_model_range
from dcde.params.training import AdamWParams, LossWeights, OptimizerParams, TrainParams
from dcde.train.adversary import Adversary
from dcde.train.bad_steps import undone_if_not_finite
from dcde.train.discriminator import GanLoss
from dcde.train.losses import Prediction, Term, build_terms
from dcde.train.optimizer import adamw, take_step
from dcde.train.schedules import learning_rate, warmup

Batch = dict[str, Tensor]


class Task(Protocol):
    """A network and the forward pass that its losses need."""

    module: nn.Module

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        """Run `module` (the wrapped form of `self.module`) on a batch.

        `batch["image"]` is (B, 3, H, W) in [-1, 1]; the dataset may add more, such as "latent".
        """
        ...


class Learner:
    """The task's module with its optimizer, its moving average and its adversary, if any.

    Args:
        adversary: judges the module's images, as the loss term `gamma`.
        grad_clip: largest gradient norm; 0 is off.
    """

    def __init__(
        self,
        task: Task,
        terms: Mapping[str, Term],
        train: TrainParams,
        optimizer: OptimizerParams,
        accelerator: Accelerator,
        *,
        adversary: Adversary | None = None,
        grad_clip: float = 0.0,
    ) -> None:
        self.task, self.terms, self.accelerator = task, terms, accelerator
        self.optimizer_params = optimizer
        self.adversary, self.grad_clip = adversary, grad_clip
        module = channels_last(task.module, accelerator.device)
        self.net = share_batch_norms(module, accelerator.device)
        self.ema = (
            AveragedModel(
                self.net, multi_avg_fn=get_ema_multi_avg_fn(train.ema), use_buffers=True
            ).requires_grad_(False)
            if train.ema
            else None
        )
        if train.compile:
            self.net.compile()
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.ddp, self.optimizer = accelerator.prepare(self.net, adamw(self.parameters, optimizer))

    def parts(self) -> dict[str, Any]:
        """Return what an unfinished run must save."""
        parts = {"module": self.net, "optimizer": self.optimizer}
        if self.ema is not None:
            parts["ema"] = self.ema
        if self.adversary is not None:
            parts |= self.adversary.parts()
        if self.accelerator.scaler is not None:
            parts["scaler"] = self.accelerator.scaler
        return parts

    def result(self) -> nn.Module:
        """Return the module to keep now: the moving average if there is one."""
        if self.ema is not None and self.ema.n_averaged > 0:
            return self.ema.module
        return self.net

    def lr(self, epoch: float, step: int) -> float:
        """Return the learning rate at this point of the run."""
        params = self.optimizer_params
        return learning_rate(params, epoch) * warmup(step, params.warmup_steps)

    def step(
        self,
        batches: Sequence[Batch],
        weights: Mapping[str, float],
        *,
        lr: float,
        resting: Collection[nn.Parameter] = (),
    ) -> tuple[Prediction, dict[str, float]]:
        """Train on the mean over the batches; return the last prediction and each mean loss.

        Args:
            resting: parameters that do not move.

        Raises:
            NotFiniteError: before anything has changed.
        """
        nets = [self.net] if self.adversary is None else [self.net, self.adversary.net]
        with undone_if_not_finite(*nets):
            prediction, means = self._backward(batches, weights)
            for parameter in resting:
                parameter.grad = None
            losses = take_step(
                self.accelerator,
                self.optimizer,
                self.parameters,
                means,
                lr=lr,
                grad_clip=self.grad_clip,
            )
        if self.ema is not None:
            self.ema.update_parameters(self.net)
        return prediction, losses

    def _backward(
        self, batches: Sequence[Batch], weights: Mapping[str, float]
    ) -> tuple[Prediction, dict[str, Tensor]]:
        sums: Tensor | float = 0.0
        for i, batch in enumerate(batches):
            last = i + 1 == len(batches)  # before it, processes need not exchange gradients
            with nullcontext() if last else self.accelerator.no_sync(self.ddp):
                prediction, losses = self._losses(batch)
                total = torch.stack([weights[n] * loss for n, loss in losses.items()]).sum()
                self.accelerator.backward(total / len(batches))
            sums = sums + torch.stack([*losses.values(), total]).detach() / len(batches)
        means = self.accelerator.reduce(sums, "mean").unbind()
        return prediction, dict(zip((*losses, "total"), means, strict=True))

    def _losses(self, batch: Batch) -> tuple[Prediction, dict[str, Tensor]]:
        image = to_model_range(batch["pixels"]).contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            prediction = self.task.predict(self.ddp, {**batch, "image": image})
            losses = {name: term(prediction) for name, term in self.terms.items()}
            if self.adversary is not None:
                losses["gamma"] = self.adversary.term(prediction.image)
        return prediction, losses


def build_learner(
    task: Task,
    loss: LossWeights,
    train: TrainParams,
    optimizer: OptimizerParams,
    accelerator: Accelerator,
    *,
    lpips_metric: Callable[[], nn.Module],
    gan: tuple[int, GanLoss, AdamWParams],
    seed: int,
    grad_clip: float = 0.0,
) -> Learner:
    """Return the learner of a task, with a discriminator if the loss has one.

    Args:
        lpips_metric: loads LPIPS onto the device; called only if a term needs it.
        gan: the discriminator's ratio, loss and optimizer, see `Adversary`.
        seed: of the discriminator's weights.
    """
    torch.manual_seed(seed)
    adversary = Adversary(*gan, accelerator) if "gamma" in loss.weights() else None
    terms = build_terms(loss, lpips_metric)
    return Learner(
        task, terms, train, optimizer, accelerator, adversary=adversary, grad_clip=grad_clip
    )
