"""One step of training an autoencoder: which parameters train, and what the losses look at."""

from __future__ import annotations

from torch import Tensor, nn

from dcde.model import DCAE
from dcde.model.blocks import recompute_stages
from dcde.model.dcae import stage_taps
from dcde.params.autoencoder import Part
from dcde.train.learner import Batch
from dcde.train.losses import Prediction


class Reconstruct(nn.Module):
    """Image to (image, latent, the decoder's residual stream after each stage).

    Batch norms of frozen parts keep their statistics, which must not change either.
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
    """Reconstruct the image."""

    def __init__(self, model: DCAE) -> None:
        self.module: nn.Module = Reconstruct(model)

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        image, latent, activations = module(batch["image"])
        return Prediction(image, batch["image"], latent=latent, activations=activations)


def train_part(model: DCAE, part: Part, *, checkpoint_activations: bool) -> None:
    """Let a part of the model train, and freeze the rest.

    Args:
        part: `all`; `decoder`, which keeps latents the same; `middle` or `head`.
        checkpoint_activations: recompute blocks in the backward pass.
    """
    encoder, decoder = model.encoder, model.decoder
    parts: dict[Part, list[nn.Module]] = {
        "all": [model],
        "decoder": [decoder],
        "middle": [
            encoder.stages[-1],
            encoder.project_out,
            decoder.project_in,
            decoder.stages[-1],
        ],
        "head": [decoder.stages[model.config.decoder.first_stage], decoder.project_out],
    }
    model.requires_grad_(False)
    for module in parts[part]:
        module.requires_grad_(True)
    for side in (encoder, decoder):
        recompute_stages(side.stages, checkpoint_activations)
