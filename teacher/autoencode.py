"""Training a whole autoencoder: the task behind the bundled teacher."""

from __future__ import annotations

from torch import Tensor, nn

from dcde.model import DCAE
from dcde.model.blocks import GLUMBConv, LiteMLA, ResBlock, RMSNorm2d
from dcde.model.dcae import stage_taps
from dcde.train.learner import Batch
from dcde.train.losses import Prediction


class _Reconstruct(nn.Module):
    """Image to (image, latent, the decoder's residual stream after each stage)."""

    def __init__(self, model: DCAE) -> None:
        super().__init__()
        self.model = model
        self.taps = stage_taps(model.config.decoder)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        latent = self.model.encode(image)
        reconstruction, features = self.model.decode(latent, self.taps)
        return reconstruction, latent, tuple(features[tap] for tap in self.taps)


class AutoencodeTask:
    """Reconstruct the image, with encoder and decoder trained together."""

    def __init__(self, model: DCAE) -> None:
        self.module: nn.Module = _Reconstruct(model)

    def predict(self, module: nn.Module, batch: Batch) -> Prediction:
        image, latent, activations = module(batch["image"])
        return Prediction(image, batch["image"], latent=latent, activations=activations)


BRANCH_SCALE = 0.1
"""Weight of a residual branch's last norm at the start of training."""


def quiet_branches(model: DCAE) -> None:
    """Start every residual branch small: its last norm gets weight `BRANCH_SCALE`.

    With branches at full scale the residual stream of a model trained briefly outgrows them, and
    blocks can be dropped at no loss: a teacher whose depth is not used.
    """
    for module in model.modules():
        if isinstance(module, ResBlock):
            last = module.conv2
        elif isinstance(module, LiteMLA):
            last = module.proj
        elif isinstance(module, GLUMBConv):
            last = module.point_conv
        else:
            continue
        norm = last.norm
        assert isinstance(norm, nn.BatchNorm2d | RMSNorm2d)
        nn.init.constant_(norm.weight, BRANCH_SCALE)
