"""teacher/params.yaml as a frozen pydantic model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dcde.base.recipe import (
    CropParams,
    DistillParams,
    GanParams,
    LossParams,
    LossWeights,
    OptimizerParams,
    Recipe,
    RuntimeParams,
    TrainParams,
    check_gan,
)
from dcde.base.section import PositiveInt, Section, Weight


class AutoencodeLossParams(LossWeights):
    """The loss of encoder and decoder together."""

    image: Weight = 0.0
    """L1 of the images, against the photos."""
    lpips: Weight = 0.0
    latent: Weight = 0.0
    """Mean square of the latent."""
    activation: Weight = 0.0
    """Mean square of the decoder's residual stream, averaged over its stages."""


class DecoderPhase(Section):
    """A training of the decoder alone."""

    train: DistillParams
    loss: LossParams
    optimizer: OptimizerParams


class TeacherTrainParams(Section):
    """teacher/params.yaml: how the bundled teacher is trained."""

    class Data(Section):
        train: str
        """Folder of training images."""
        val: str
        """Folder of evaluation images, at least `eval_size` on each side."""
        on_bad_image: Literal["skip", "refuse"]
        eval_size: PositiveInt

    class Train(TrainParams):
        crops: CropParams

    seed: Annotated[int, Field(ge=0)]
    model: str
    """Name in the zoo."""
    data: Data
    train: Train
    loss: AutoencodeLossParams
    optimizer: OptimizerParams
    decoder: DecoderPhase
    refine: DecoderPhase
    optimizer_d: OptimizerParams
    gan: GanParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _check(self) -> TeacherTrainParams:
        for phase in (self.decoder, self.refine):
            check_gan(phase.loss, self.gan, phase.train)
        return self

    def recipe(self, phase: DecoderPhase) -> Recipe:
        """A phase of the decoder alone, as `dcde.distill` takes it."""
        return Recipe(
            seed=self.seed,
            distill=phase.train,
            loss=phase.loss,
            gan=self.gan,
            optimizer=phase.optimizer,
            optimizer_d=self.optimizer_d,
            runtime=self.runtime,
        )
