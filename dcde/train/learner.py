"""What is trained, and one step of it: losses, gradients, optimizer, moving average."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dcde.base.devices import channels_last
from dcde.base.processes import any_process
from dcde.base.recipe import OptimizerParams, TrainParams
from dcde.data.pixels import to_model_range
from dcde.train.adversary import Adversary
from dcde.train.bad_steps import blame_gradient, undone_if_not_finite
from dcde.train.batch_norm import share_statistics
from dcde.train.losses import PICTURE_TERMS, Prediction, Term
from dcde.train.optimizer import adamw, take_step

Batch = dict[str, Tensor]


class Task(Protocol):
    """What is trained, and what one step of it computes."""

    module: nn.Module

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        """Run `module` (the wrapped form of `self.module`) on a batch.

        `batch["image"]` is (B, 3, H, W) in [-1, 1]; the dataset may add more, such as "latent".
        """
        ...


class Learner:
    """The task's module with its optimizer, and its moving average where there is one.

    Args:
        adversary: judges its images, as the term `gamma`.
    """

    def __init__(
        self,
        task: Task,
        *,
        accelerator: Accelerator,
        terms: Mapping[str, Term],
        train: TrainParams,
        optimizer: OptimizerParams,
        adversary: Adversary | None,
    ) -> None:
        self.task, self.accelerator, self.terms = task, accelerator, terms
        self.grad_clip, self.adversary = train.grad_clip, adversary
        module = channels_last(task.module, accelerator.device)
        self.net = share_statistics(module, accelerator.device)
        self.ema = (
            AveragedModel(
                self.net, multi_avg_fn=get_ema_multi_avg_fn(train.ema), use_buffers=True
            ).requires_grad_(False)
            if train.ema
            else None
        )
        self.compiled = train.compile
        if self.compiled:
            self.net.compile()
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.ddp, self.optimizer = accelerator.prepare(self.net, adamw(self.parameters, optimizer))

    def parts(self) -> dict[str, Any]:
        """What an unfinished run must save."""
        parts = {"module": self.net, "optimizer": self.optimizer}
        return parts | ({"ema": self.ema} if self.ema is not None else {})

    def result(self) -> nn.Module:
        """The module as it would be kept now: the moving average where there is one."""
        if self.ema is not None and self.ema.n_averaged > 0:
            return self.ema.module
        return self.net

    def step(
        self,
        batches: Sequence[Batch],
        weights: Mapping[str, float],
        *,
        lr: float,
        resting: Collection[nn.Parameter],
    ) -> tuple[Prediction, dict[str, float]]:
        """Train on the mean over the batches; the last prediction, and the mean of each loss.

        Args:
            resting: parameters that stay as they are.

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
                blame=lambda: self._blame(batches, weights),
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
                prediction, losses = self._losses(self.ddp, batch, weights)
                balanced = self._balanced(weights, losses, prediction.image)
                total = torch.stack([balanced[n] * loss for n, loss in losses.items()]).sum()
                self.accelerator.backward(total / len(batches))
            sums = sums + torch.stack([*losses.values(), total]).detach() / len(batches)
        means = self.accelerator.reduce(sums, "mean").unbind()
        return prediction, dict(zip((*losses, "total"), means, strict=True))

    def _balanced(
        self, weights: Mapping[str, float], losses: Mapping[str, Tensor], image: Tensor
    ) -> Mapping[str, float | Tensor]:
        """The weights, with the GAN's in proportion to the others' pull where that is asked for."""
        if self.adversary is None or not self.adversary.gan.adaptive or "gamma" not in weights:
            return weights
        others = [weights[n] * loss for n, loss in losses.items() if n in PICTURE_TERMS]
        balance = self.adversary.balance(torch.stack(others).sum(), losses["gamma"], image)
        return {**weights, "gamma": weights["gamma"] * balance}

    def _losses(
        self, module: nn.Module, batch: Batch, weights: Mapping[str, float]
    ) -> tuple[Prediction, dict[str, Tensor]]:
        image = to_model_range(batch["pixels"]).contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            prediction = self.task.predict(module, {**batch, "image": image})
            losses = {name: term(prediction) for name, term in self.terms.items()}
            if self.adversary is not None and "gamma" in weights:
                losses["gamma"] = self.adversary.term(prediction.image)
        return prediction, losses

    def _blame(self, batches: Sequence[Batch], weights: Mapping[str, float]) -> str:
        term = blame_gradient(
            lambda batch: self._losses(self.net, batch, weights)[1],
            batches,
            self.parameters,
            lambda flag: any_process(self.accelerator, flag),
        )
        if term is None and self.compiled:
            return "the compiled model (each term's is, where it is not compiled)"
        return term or "the losses' sum"
