"""The sections of params.yaml that decide how a decoder is trained."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from dcde.base.section import PositiveFloat, PositiveInt, Section, Weight

Beta = Annotated[float, Field(ge=0, lt=1)]


class CropParams(Section):
    """How training crops are cut from photos."""

    image_size: Annotated[int, Field(ge=32)]
    """Side of a training crop in pixels."""
    short_side: tuple[PositiveInt, PositiveInt]
    """Range from which the photo's shorter side is drawn before cutting, in pixels."""
    flip: bool
    """Whether half of the crops are mirrored."""

    @model_validator(mode="after")
    def _check(self) -> CropParams:
        low, high = self.short_side
        if not self.image_size <= low <= high:
            raise ValueError(
                f"short_side: found [{low}, {high}], expected image_size ({self.image_size}) "
                "<= low <= high"
            )
        return self


class OptimizerParams(Section):
    """AdamW with a cosine schedule with warm restarts, for one net."""

    lr: PositiveFloat
    betas: tuple[Beta, Beta]
    """Decays of the moving averages of the gradient and of its square."""
    weight_decay: Weight
    cosine_t0: PositiveInt
    """Epochs of the first cosine period."""
    cosine_t_mult: PositiveInt
    eta_min: Weight
    """Learning rate at the end of a period."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps in which the learning rate rises linearly from 0."""


class GanParams(Section):
    start: Annotated[int, Field(ge=0)]
    """Epoch in which the discriminator begins to learn, and to judge."""
    ramp_epochs: Weight
    """Epochs in which the weight of its judgement rises from 0."""
    adaptive: bool
    """Whether the weight is relative: to the pull of the other terms on the image."""
    ratio: PositiveInt
    """Training samples between two steps of the discriminator."""
    loss: Literal["bce", "lsgan", "hinge"]
    norm: Literal["batch", "group", "spectral"]
    """The discriminator's: batch norm as in pix2pix, group norm, or spectral norm of weights."""


class TrainParams(Section):
    """What the trainer needs, whatever it trains."""

    epochs: PositiveInt
    samples_per_epoch: PositiveInt | None
    """Training samples drawn at random for each epoch; null: each photo once."""
    batch_size: PositiveInt
    """Samples of a forward pass, on all processes together."""
    accumulation_steps: PositiveInt
    """Batches whose gradients are averaged for one step of the optimizer."""
    precision: Literal["fp32", "bf16", "fp16"]
    """bf16 and fp16 are automatic mixed precision."""
    compile: bool
    """Whether torch.compile is used: slow to start, quicker steps."""
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the moving average of the weights for each step; 0 is off."""
    grad_clip: Weight
    """Largest norm of the generator's gradient; 0 is off."""
    max_bad_steps: Annotated[int, Field(ge=0)]
    """Steps of the run that may be skipped because a loss or gradient is not finite."""


class DistillParams(TrainParams):
    crops: CropParams
    crops_per_image: PositiveInt
    """Fixed crops of each photo, from which an epoch's samples are drawn."""
    tap: Literal[0, 1, 2, 3]
    """Where features are compared: 0 output of project_out, 1 before it, 2 after its norm, 3 after
    its activation."""
    freeze_encoder: bool
    """Whether the student's encoder stays the teacher's, so that it decodes the same latents."""
    freeze_project_out: bool
    dynamic_loss: bool
    division_epoch: PositiveInt
    """Epoch at which the dynamic loss turns from features to images."""
    shallow_epochs: Annotated[int, Field(ge=0)]
    """Segment training: epochs in which the shallow stages train alone, before all do; 0 is off."""
    shallow_stages: Annotated[tuple[int, ...], Field(min_length=1)] | None
    """The decoder's stages that are shallow; null: the half at the highest resolution."""
    checkpoint_activations: bool
    """Whether blocks are computed again in the backward pass, not kept: less memory, slower."""
    validation_photos: Annotated[int, Field(ge=0)]
    """Training photos held out to measure each epoch on; 0 is off."""
    select: Literal["best", "last"]
    """Which epoch's student is the result: that of the lowest validation LPIPS, or the last."""

    @model_validator(mode="after")
    def _check(self) -> DistillParams:
        if self.shallow_epochs >= self.epochs:
            raise ValueError(
                f"shallow_epochs: found {self.shallow_epochs}, "
                f"expected less than epochs ({self.epochs}): then all stages train"
            )
        if self.select == "best" and self.validation_photos == 0:
            raise ValueError("select: found 'best', but validation_photos is 0: nothing to rank by")
        if self.dynamic_loss and self.division_epoch >= self.epochs:
            raise ValueError(
                f"division_epoch: found {self.division_epoch}, expected less than epochs "
                f"({self.epochs}) as dynamic_loss is on"
                + ("; one epoch alone needs dynamic_loss: false" if self.epochs == 1 else "")
            )
        return self


class LossWeights(Section):
    """The weight of each term of a loss; 0, or not to name it, leaves the term out.

    A term has the name that its field has here (see `dcde.train.losses`).
    """

    @model_validator(mode="after")
    def _check_any(self) -> LossWeights:
        if not self.weights():
            raise ValueError("all weights are 0, expected at least one term to train with")
        return self

    def weights(self) -> dict[str, float]:
        """The terms that take part, with their weights."""
        return {name: weight for name, weight in self.model_dump().items() if weight}


class LossParams(LossWeights):
    """The loss of a decoder that is trained from latents."""

    feature: Weight = 0.0
    """L1 of the features at the tap, against the teacher's."""
    stream: Weight = 0.0
    """Relative L1 of the residual stream after each stage, against the teacher's."""
    image: Weight = 0.0
    """L1 of the images, against the photos."""
    lpips: Weight = 0.0
    """LPIPS of the images, against the photos."""
    teacher_lpips: Weight = 0.0
    """LPIPS of the images, against the teacher's."""
    gamma: Weight = 0.0
    """PatchGAN, whose discriminator judges the images."""


class RuntimeParams(Section):
    """What changes no result; DVC does not track it."""

    workers: Annotated[int, Field(ge=0)] | None
    """Processes that load images beside the trainer's own; null: see `loader_workers`."""
    log_every: PositiveInt
    """Steps between two rows of the loss curves."""
    save_minutes: PositiveFloat
    """Minutes between two saved states inside an epoch."""

    def loader_workers(self) -> int:
        """`workers`, or where that is null as many as cores are left beside a GPU, at most 8.

        Without a GPU that is none: there the trainer itself needs the cores.
        """
        if self.workers is not None:
            return self.workers
        return min(8, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 0


class Recipe(Section):
    """All that decides how a decoder is trained: what `dcde.distill` needs to know."""

    seed: Annotated[int, Field(ge=0)]
    distill: DistillParams
    loss: LossParams
    gan: GanParams
    optimizer: OptimizerParams
    """The student's optimizer."""
    optimizer_d: OptimizerParams
    """The discriminator's optimizer."""
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        check_gan(self.loss, self.gan, self.distill)
        return self


def check_gan(loss: LossWeights, gan: GanParams, train: TrainParams) -> None:
    """Refuse a GAN that never starts, that steps too often, or has nothing to be balanced with.

    Raises:
        ValueError: naming the field.
    """
    weights = loss.weights()
    if "gamma" not in weights:
        return
    samples = train.batch_size * train.accumulation_steps
    if gan.ratio < samples:
        raise ValueError(
            f"gan.ratio: found {gan.ratio}, expected at least batch_size * accumulation_steps "
            f"({samples}): the discriminator takes at most one step for each step of the generator"
        )
    if gan.start >= train.epochs:
        raise ValueError(
            f"gan.start: found {gan.start}, expected less than epochs ({train.epochs}), which "
            "count from 0, as loss.gamma is not 0"
        )
    if gan.adaptive and not {"image", "lpips", "teacher_lpips"} & weights.keys():
        raise ValueError(
            "gan.adaptive: found true, expected false where no other term compares pictures, to "
            "which gamma could be relative"
        )
