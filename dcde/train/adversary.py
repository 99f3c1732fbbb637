"""PatchGAN's part in training: a term of the student's loss, and steps of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dcde.base.devices import channels_last
from dcde.base.recipe import GanParams, OptimizerParams
from dcde.train.bad_steps import undone_if_not_finite
from dcde.train.batch_norm import share_statistics
from dcde.train.discriminator import PatchGAN, discriminator_loss, generator_loss
from dcde.train.losses import Prediction
from dcde.train.optimizer import adamw, take_step
from dcde.train.schedules import learning_rate

TINY, MOST = 1e-12, 1e4
"""Bounds of the adaptive weight, as the discriminator's gradient may vanish."""


class Adversary:
    """The discriminator and its optimizer; fresh weights come from torch's random state."""

    def __init__(
        self, gan: GanParams, optimizer: OptimizerParams, accelerator: Accelerator
    ) -> None:
        self.gan, self.optimizer_params, self.accelerator = gan, optimizer, accelerator
        net = channels_last(PatchGAN(gan.norm), accelerator.device)
        self.net: nn.Module = share_statistics(net, accelerator.device)
        self.ddp, self.optimizer = accelerator.prepare(
            self.net, adamw(list(self.net.parameters()), optimizer)
        )

    def parts(self) -> dict[str, Any]:
        """What an unfinished run must save."""
        return {"discriminator": self.net, "optimizer_d": self.optimizer}

    def term(self, image: Tensor) -> Tensor:
        """The generator's loss for its images; no gradient reaches the discriminator."""
        self.net.requires_grad_(False)
        return generator_loss(self.net(image).float(), self.gan.loss)

    def weights(self, weights: Mapping[str, float], epoch: float) -> Mapping[str, float]:
        """The weights at this point of the run: `gamma` is not among them before it takes part."""
        since = epoch - self.gan.start
        if since < 0:
            return {name: weight for name, weight in weights.items() if name != "gamma"}
        risen = min(1.0, since / self.gan.ramp_epochs) if self.gan.ramp_epochs else 1.0
        return {**weights, "gamma": weights["gamma"] * risen}

    def balance(self, others: Tensor, judgement: Tensor, image: Tensor) -> Tensor:
        """How much harder the other terms pull at the image than the judgement does, a scalar.

        The ratio of their gradients' norms: VQGAN's adaptive weight (arXiv 2012.09841). There they
        are gradients of the last layer's weights, which may be frozen here; these are the image's.
        """
        losses, scaler = [others, judgement], self.accelerator.scaler
        if scaler is not None:
            losses = scaler.scale(losses)  # or fp16 would round the gradients to 0
        squares = [
            torch.autograd.grad(loss, image, retain_graph=True)[0].float().square().sum()
            for loss in losses
        ]
        theirs, ours = self.accelerator.reduce(torch.stack(squares), "mean").sqrt()
        # Where both have overflown in fp16, the step will be skipped whatever the weight.
        return (theirs / ours.clamp_min(TINY)).clamp_max(MOST).nan_to_num(1.0)

    def lr(self, epoch: float, step: int) -> float:
        """The learning rate at this point of the run."""
        return learning_rate(self.optimizer_params, epoch, step)

    def due(self, before: int, after: int) -> bool:
        """Whether another `gan.ratio` samples were passed, between two counts of samples."""
        return before // self.gan.ratio != after // self.gan.ratio

    def step(self, prediction: Prediction, lr: float) -> float:
        """Train on the student's images against the true ones; return the loss, of all processes.

        Raises:
            NotFiniteError: before anything has changed.
        """
        self.net.requires_grad_(True)
        with undone_if_not_finite(self.net):
            with self.accelerator.autocast():
                real = self.ddp(prediction.target)
                fake = self.ddp(prediction.image.detach())
                loss = discriminator_loss(real.float(), fake.float(), self.gan.loss)
            self.accelerator.backward(loss)
            mean = self.accelerator.reduce(loss.detach(), "mean")
            losses = take_step(
                self.accelerator,
                self.optimizer,
                list(self.net.parameters()),
                {"discriminator": mean},
                lr=lr,
                grad_clip=0,
                blame=lambda: "loss.discriminator",
            )
        return losses["discriminator"]
