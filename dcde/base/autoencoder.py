"""The sections of autoencoder/params.yaml: how a whole DC-AE is trained, phase by phase."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dcde.base.params import DataParams
from dcde.base.recipe import (
    CropParams,
    GanParams,
    LossWeights,
    OptimizerParams,
    RuntimeParams,
    TrainParams,
    check_gan,
)
from dcde.base.section import PositiveInt, Section, Weight


def is_autoencoder(raw: Any) -> bool:
    """Whether what a parameters file holds is meant for autoencoder/, not for the main pipeline."""
    return isinstance(raw, dict) and "phase1" in raw


Part = Literal["all", "decoder", "middle", "head"]
"""What of an autoencoder trains, see `dcde.autoencode.parts`."""


class AutoencodeLossParams(LossWeights):
    """The loss of an autoencoder on photos."""

    image: Weight = 0.0
    """L1 of the images, against the photos."""
    lpips: Weight = 0.0
    """LPIPS of the images, against the photos."""
    latent: Weight = 0.0
    """Mean square of the latent."""
    activation: Weight = 0.0
    """Mean square of the decoder's residual stream, averaged over its stages."""
    gamma: Weight = 0.0
    """PatchGAN, whose discriminator judges the images."""


class PhaseParams(TrainParams):
    """One phase of the training."""

    trains: Part
    epochs: Annotated[int, Field(ge=0)]
    """0: the phase is left out."""
    crops: CropParams
    checkpoint_activations: bool
    """Whether blocks are computed again in the backward pass, not kept: less memory, slower."""
    loss: AutoencodeLossParams
    optimizer: OptimizerParams


class AutoencoderParams(Section):
    """The whole of autoencoder/params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    launcher: str
    """Command before `-m autoencoder.train`."""
    start: str
    """A name of the zoo, whose weights are then random, or a model: `bundled:<name>`,
    `hf:<owner>/<name>` or a folder."""
    data: DataParams
    phase1: PhaseParams
    phase2: PhaseParams
    phase3: PhaseParams
    optimizer_d: OptimizerParams
    """The discriminator's optimizer."""
    gan: GanParams
    show_images: PositiveInt
    """Evaluation crops that each epoch is shown and scored on."""
    runtime: RuntimeParams

    def phases(self) -> dict[str, PhaseParams]:
        """By their names, in their order."""
        return {"phase1": self.phase1, "phase2": self.phase2, "phase3": self.phase3}

    @model_validator(mode="after")
    def _check(self) -> AutoencoderParams:
        phases = self.phases()
        if not any(phase.epochs for phase in phases.values()):
            raise ValueError(f"{', '.join(phases)}: found 0 epochs in each, expected some in one")
        for phase in phases.values():
            if phase.epochs:
                check_gan(phase.loss, self.gan, phase)
        return self
