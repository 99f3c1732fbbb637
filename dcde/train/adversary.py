"""PatchGAN's part in training: a term of the generator's loss, and steps of its own."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from dcde.base.devices import channels_last
from dcde.base.processes import share_batch_norms
from dcde.params.training import AdamWParams
from dcde.train.bad_steps import undone_if_not_finite
from dcde.train.discriminator import GanLoss, PatchGAN, discriminator_loss, generator_loss
from dcde.train.losses import Prediction
from dcde.train.optimizer import adamw, take_step
from dcde.train.schedules import learning_rate


class Adversary:
    """The discriminator and its optimizer; fresh weights come from torch's random state.

    Args:
        ratio: training samples between two of its steps.
    """

    def __init__(
        self, ratio: int, loss: GanLoss, optimizer: AdamWParams, accelerator: Accelerator
    ) -> None:
        self.ratio, self.loss = ratio, loss
        self.optimizer_params, self.accelerator = optimizer, accelerator
        net = channels_last(PatchGAN(), accelerator.device)
        self.net: nn.Module = share_batch_norms(net, accelerator.device)
        self.ddp, self.optimizer = accelerator.prepare(
            self.net, adamw(list(self.net.parameters()), optimizer)
        )

    def parts(self) -> dict[str, Any]:
        """Return what an unfinished run must save."""
        return {"discriminator": self.net, "optimizer_d": self.optimizer}

    def term(self, image: Tensor) -> Tensor:
        """Return the generator's loss for its images; no gradient reaches the discriminator."""
        self.net.requires_grad_(False)
        return generator_loss(self.net(image).float(), self.loss)

    def lr(self, epoch: float) -> float:
        """Return the learning rate at this point of the run."""
        return learning_rate(self.optimizer_params, epoch)

    def due(self, before: int, after: int) -> bool:
        """Return whether another `ratio` samples passed between two counts of samples."""
        return before // self.ratio != after // self.ratio

    def step(self, prediction: Prediction, lr: float) -> float:
        """Train on the generator's images against the true ones; return the loss.

        Raises:
            NotFiniteError: before anything has changed.
        """
        self.net.requires_grad_(True)
        with undone_if_not_finite(self.net):
            with self.accelerator.autocast():
                real = self.ddp(prediction.target)
                fake = self.ddp(prediction.image.detach())
                loss = discriminator_loss(real.float(), fake.float(), self.loss)
            self.accelerator.backward(loss)
            mean = self.accelerator.reduce(loss.detach(), "mean")
            losses = take_step(
                self.accelerator,
                self.optimizer,
                list(self.net.parameters()),
                {"discriminator": mean},
                lr=lr,
            )
        return losses["discriminator"]
