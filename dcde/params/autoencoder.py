"""The parameters of the pipeline in autoencoder/, which trains a whole DC-AE in three phases."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import model_validator

from dcde.params.section import Count, Fraction, NonNegative, PositiveInt, Section
from dcde.params.training import (
    AdamWParams,
    DataParams,
    GanParams,
    LossWeights,
    Needs,
    OptimizerParams,
    RuntimeParams,
    TrainParams,
    check_gan,
)


def is_autoencoder(raw: Any) -> bool:
    """Return whether a parameters file is that of autoencoder/ rather than the main pipeline's."""
    return isinstance(raw, dict) and "phase1" in raw


Part = Literal["all", "decoder", "middle", "head"]
"""The part of an autoencoder that trains, see `dcde.autoencode.task.train_part`."""


class AutoencodeLossParams(LossWeights):
    """The loss of an autoencoder on photos."""

    image: Annotated[NonNegative, Needs(image=True)] = 1.0
    """L1 between images and photos."""
    lpips: Annotated[NonNegative, Needs(image=True, lpips=True)] = 0.2
    """LPIPS between images and photos."""
    latent: NonNegative = 0.0
    """Mean square of the latent."""
    activation: NonNegative = 0.0
    """Mean square of the decoder's residual stream, averaged over its stages."""
    gamma: Annotated[NonNegative, Needs(image=True)] = 0.0
    """PatchGAN: how unlike photos a discriminator finds the images."""


class PhaseParams(TrainParams):
    """One phase of the training."""

    trains: Part
    epochs: Count
    """0 skips the phase."""
    ema: Fraction = 0.99
    grad_clip: NonNegative = 1.0
    """Largest gradient norm; larger gradients are scaled down to it. 0: off."""
    loss: AutoencodeLossParams = AutoencodeLossParams()
    optimizer: OptimizerParams


class AutoencodeGanParams(GanParams):
    ratio: PositiveInt = 8
    loss: Literal["bce", "hinge"] = "hinge"


class AutoencoderParams(Section):
    """All of autoencoder/params.yaml."""

    seed: Count = 0
    launcher: str = "python"
    """Command before `-m autoencoder.train`."""
    start: str
    """An architecture of the zoo, which starts from random weights, or a model:
    `bundled:<name>`, `hf:<owner>/<name>` or a folder."""
    data: DataParams = DataParams()
    phase1: PhaseParams
    phase2: PhaseParams
    phase3: PhaseParams
    optimizer_d: AdamWParams
    """The discriminator's optimizer."""
    gan: AutoencodeGanParams = AutoencodeGanParams()
    show_images: PositiveInt = 16
    """Evaluation crops on which each epoch is shown and scored."""
    runtime: RuntimeParams = RuntimeParams()

    def phases(self) -> dict[str, PhaseParams]:
        """Return the phases by name, in order."""
        return {"phase1": self.phase1, "phase2": self.phase2, "phase3": self.phase3}

    @model_validator(mode="after")
    def _check(self) -> AutoencoderParams:
        phases = self.phases()
        if not any(phase.epochs for phase in phases.values()):
            raise ValueError(f"{', '.join(phases)}: found 0 epochs in each, expected some in one")
        for phase in phases.values():
            check_gan(phase.loss, self.gan, phase)
        return self
