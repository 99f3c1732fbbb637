"""The parameters of the main pipeline: each section of params.yaml, with its defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dcde.params.section import Count, NonNegative, PositiveInt, Ratio, Section, Side, UserPath
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

TAPS = ("image", "stream", "norm", "act")
"""Taps by the original recipe's numbers, 0 to 3."""


def _tap_of_number(value: Any) -> Any:
    return TAPS[value] if type(value) is int and 0 <= value < len(TAPS) else value


class TeacherParams(Section):
    source: str = "bundled:dc-ae-f16c16-photos"
    """`bundled:<name>`, `hf:<owner>/<name>[@<revision>][/<folder>]`, or a folder."""


class PruneParams(Section):
    depth_list: tuple[Count, ...] = (0, 3, 6, 2, 2)
    """Blocks that each stage of the student's decoder keeps, finest stage first. 0 for the finest
    drops the stage: the output layer then doubles the resolution."""
    inner_ratio: tuple[Ratio, ...] | None = (1, 0.25, 0.25, 0.25, 0.25)
    """Share of the channels inside the blocks that each stage keeps; null: as width_list does."""
    width_list: tuple[PositiveInt, ...] | None = None
    """Channels that each stage keeps in its stream; null: all."""
    method: Literal["direct", "gap", "random", "last", "influence"] = "last"
    """Blocks to keep in a stage: the first, evenly spaced ones, fresh ones, the last, or those
    that matter most (see `dcde.prune.choose_blocks`)."""
    channels: Literal["direct", "gap", "random", "rebuild"] = "rebuild"
    """Channels to keep: the first, evenly spaced ones, random ones, or those from which repair can
    rebuild most of what the others bring (see `dcde.prune.subset`)."""
    repair: bool = True
    """Refit what is left to the teacher in closed form (see `dcde.prune.repair`)."""
    calibration_images: PositiveInt = 32
    """Training photos to measure and repair on."""
    start: str | None = None
    """An existing student to train further, named like a teacher, instead of pruning."""

    @property
    def narrows(self) -> bool:
        """Return whether any channel is cut."""
        return self.width_list is not None or self.inner_ratio is not None

    @property
    def fits(self) -> bool:
        """Return whether convolutions are fitted on photos, for repair or to choose channels."""
        return self.repair or (self.narrows and self.channels == "rebuild")


class DistillParams(TrainParams):
    crops_per_image: PositiveInt = 16
    """Distinct crops of each photo to draw from."""
    tap: Annotated[Literal["image", "stream", "norm", "act"], BeforeValidator(_tap_of_number)] = (
        "act"
    )
    """Where the feature term compares: the image, or the output layer's input before its norm
    (stream), after its norm, or after its activation. 0 to 3 are read too."""
    freeze_encoder: bool = True
    """Keep the teacher's encoder, so that the student decodes the same latents."""
    freeze_project_out: bool = True
    """Keep the teacher's output layer."""
    dynamic_loss: bool = True
    """Shift weight from features to images during training (see `dynamic_weights`)."""
    division_epoch: PositiveInt = 3
    """Epoch at which the dynamic loss turns from features to images."""
    shallow_epochs: Count = 0
    """Segment training: epochs in which only the finer half of the stages trains; 0: off."""
    validation_photos: Count = 4
    """Training photos held out to score each epoch on; 0: none."""

    @model_validator(mode="after")
    def _check(self) -> DistillParams:
        if self.shallow_epochs >= self.epochs:
            raise ValueError(
                f"shallow_epochs: found {self.shallow_epochs}, "
                f"expected less than epochs ({self.epochs}): then all stages train"
            )
        if self.dynamic_loss and self.division_epoch >= self.epochs:
            raise ValueError(
                f"division_epoch: found {self.division_epoch}, expected less than epochs "
                f"({self.epochs}) because dynamic_loss is on"
                + ("; a single epoch needs dynamic_loss: false" if self.epochs == 1 else "")
            )
        return self


class LossParams(LossWeights):
    """The loss of a decoder that trains on latents."""

    feature: Annotated[NonNegative, Needs(teacher=True)] = 10.0
    """L1 between the student's and the teacher's features at the tap."""
    stream: Annotated[NonNegative, Needs(teacher=True)] = 0.3
    """Relative L1 between their residual streams after each stage."""
    image: Annotated[NonNegative, Needs(image=True)] = 1.0
    """L1 between the student's images and the photos."""
    lpips: Annotated[NonNegative, Needs(image=True, lpips=True)] = 0.6
    """LPIPS between the student's images and the photos."""
    teacher_lpips: Annotated[NonNegative, Needs(teacher=True, image=True, lpips=True)] = 0.4
    """LPIPS between the student's images and the teacher's."""
    gamma: Annotated[NonNegative, Needs(image=True)] = 0.0
    """PatchGAN: how unlike photos a discriminator finds the student's images."""


class EvalParams(Section):
    fid: bool = False
    """Also measure FID, with pytorch-fid's Inception network."""
    inception_weights: UserPath | None = None
    """The weights of that network; null: downloaded once."""
    fid_stats: UserPath | None = None
    """An npz file with `mu` and `sigma` to compare with; null: those of the evaluation photos."""


class ProfileParams(Section):
    resolutions: Annotated[tuple[Side, ...], Field(min_length=1)] = (256, 512)
    """Sides of the square images to decode, in pixels."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of weights and features."""


class Params(Section):
    """All of params.yaml."""

    seed: Count = 0
    launcher: str = "python"
    """Command before `-m stages.distill` and `-m stages.eval`."""
    data: DataParams = DataParams()
    teacher: TeacherParams = TeacherParams()
    prune: PruneParams = PruneParams()
    distill: DistillParams = DistillParams()
    loss: LossParams = LossParams()
    gan: GanParams = GanParams()
    optimizer: OptimizerParams = OptimizerParams()
    """The student's optimizer."""
    optimizer_d: AdamWParams = AdamWParams()
    """The discriminator's optimizer."""
    eval: EvalParams = EvalParams()
    profile: ProfileParams = ProfileParams()
    runtime: RuntimeParams = RuntimeParams()

    @model_validator(mode="after")
    def _check(self) -> Params:
        check_gan(self.loss, self.gan, self.distill)
        return self
