"""What a step of training an autoencoder computes."""

from __future__ import annotations

from torch import Tensor, nn

from dcde.model import DCAE
from dcde.model.dcae import stage_taps
from dcde.train.learner import Batch
from dcde.train.losses import Prediction


class Reconstruct(nn.Module):
    """Image to (image, latent, the decoder's residual stream after each stage).

    Batch norms of frozen parts keep their statistics: they are part of what must not change.
    """

    def __init__(self, model: DCAE) -> None:
        super().__init__()
        self.model = model
        self.taps = stage_taps(model.config.decoder)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        latent = self.model.encode(image)
        reconstruction, features = self.model.decode(latent, self.taps)
        return reconstruction, latent, tuple(features[tap] for tap in self.taps)

    def train(self, mode: bool = True) -> Reconstruct:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self


class AutoencodeTask:
    """Reconstruct the image by what of the model trains, and what does not."""

    def __init__(self, model: DCAE) -> None:
        self.module: nn.Module = Reconstruct(model)

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        image, latent, activations = module(batch["image"])
        return Prediction(image, batch["image"], latent=latent, activations=activations)
