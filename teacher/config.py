"""teacher/params.yaml as a frozen pydantic model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dcde.config import (
    CropParams,
    DistillParams,
    GanParams,
    LossParams,
    OptimizerParams,
    PositiveInt,
    RuntimeParams,
    Section,
    TrainParams,
    check_gan,
)


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

    class Phase(Section):
        """A training of the decoder alone."""

        train: DistillParams
        loss: LossParams
        optimizer: OptimizerParams

    seed: Annotated[int, Field(ge=0)]
    model: str
    """Name in the zoo."""
    data: Data
    train: Train
    loss: LossParams
    optimizer: OptimizerParams
    decoder: Phase
    refine: Phase
    optimizer_d: OptimizerParams
    gan: GanParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _check(self) -> TeacherTrainParams:
        for phase in (self.decoder, self.refine):
            check_gan(phase.loss, self.gan, phase.train)
        return self
