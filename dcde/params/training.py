"""Parameters that both pipelines share: photos, crops, losses, optimizers, the trainer."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from dcde.params.section import Count, Fraction, NonNegative, Positive, PositiveInt, Section, Side


class DataParams(Section):
    source: str = "embedded"
    """`embedded`, or a folder of images."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the photos set aside for evaluation if the folder has no train/ and val/."""
    eval_size: Side = 256
    """Side of an evaluation crop in pixels."""
    eval_crops: Annotated[int, Field(ge=1, le=5)] = 4
    """Evaluation crops per photo: the center first, then corners at full resolution."""


class CropParams(Section):
    """Random crops to train on."""

    image_size: Side = 128
    """Side of a crop in pixels."""
    short_side: tuple[PositiveInt, PositiveInt] = (256, 512)
    """The photo is first resized so that its shorter side falls in this range, in pixels."""
    flip: bool = True
    """Flip half of the crops horizontally."""

    @model_validator(mode="after")
    def _check(self) -> CropParams:
        low, high = self.short_side
        if not self.image_size <= low <= high:
            raise ValueError(
                f"short_side: found [{low}, {high}], expected image_size ({self.image_size}) "
                "<= low <= high"
            )
        return self


class AdamWParams(Section):
    """AdamW, with a learning rate that follows cosines with warm restarts."""

    lr: Positive = 1e-4
    weight_decay: NonNegative = 0.01
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the moving averages of the gradient and its square."""
    cosine_t0: PositiveInt = 4
    """Epochs until the first restart."""
    cosine_t_mult: PositiveInt = 1
    """Factor by which each period is longer than the last."""
    eta_min: NonNegative = 1e-6
    """Learning rate at the end of a period."""

    @model_validator(mode="after")
    def _check_eta_min(self) -> AdamWParams:
        if self.eta_min > self.lr:
            raise ValueError(
                f"eta_min: found {self.eta_min:g}, expected at most lr ({self.lr:g}): the learning "
                "rate falls"
            )
        return self


class OptimizerParams(AdamWParams):
    """The same for the network that is trained, with a warm-up."""

    lr: Positive = 1e-3
    warmup_steps: Count = 0
    """Steps over which the learning rate rises linearly from 0."""


class GanParams(Section):
    """PatchGAN."""

    ratio: PositiveInt = 300
    """Train the discriminator one step for every so many training samples."""


class TrainParams(Section):
    """Parameters of the trainer, for a decoder and an autoencoder alike."""

    epochs: PositiveInt = 4
    samples_per_epoch: PositiveInt | None = 600
    """Crops per epoch; null: one of each photo."""
    batch_size: PositiveInt = 4
    """Crops per batch, over all processes."""
    accumulation_steps: PositiveInt = 1
    """Batches averaged for one optimizer step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16 and fp16 are automatic mixed precision."""
    compile: bool = False
    """Use torch.compile: slow to start, then faster steps."""
    ema: Fraction = 0.0
    """Decay per step of the moving average of the weights that becomes the result; 0: off."""
    checkpoint_activations: bool = False
    """Recompute blocks in the backward pass: less memory, slower steps."""
    crops: CropParams = CropParams()


class Needs(NamedTuple):
    """The needs of a loss term."""

    teacher: bool = False
    """It compares with the teacher."""
    image: bool = False
    """It looks at the decoded image, so it also trains the output layer. The dynamic loss raises
    the weights of these terms and lowers all others."""
    lpips: bool = False
    """It needs the LPIPS network."""


class LossWeights(Section):
    """The weight of each loss term; 0 leaves a term out.

    A field is a term. Its annotation says what the term needs; `dcde.train.losses` has a function
    of the same name.
    """

    def weights(self) -> dict[str, float]:
        """Return the terms in use, with their weights."""
        return {name: weight for name, weight in self.model_dump().items() if weight}

    def needs(self, what: Literal["teacher", "image", "lpips"]) -> bool:
        """Return whether any term in use needs this."""
        return any(getattr(self.needed_by(name), what) for name in self.weights())

    def needed_by(self, name: str) -> Needs:
        """Return what the term needs."""
        metadata = type(self).model_fields[name].metadata
        return next((entry for entry in metadata if isinstance(entry, Needs)), Needs())

    @model_validator(mode="after")
    def _check_any(self) -> LossWeights:
        if not self.weights():
            raise ValueError("all weights are 0, expected at least one term to train with")
        return self


class RuntimeParams(Section):
    """A setting that changes no result; DVC does not track it."""

    workers: Count | None = None
    """Processes that load images; null: chosen by `dcde.base.devices.loader_workers`."""


def check_gan(loss: LossWeights, gan: GanParams, train: TrainParams) -> None:
    """Reject a discriminator that would step more often than the generator.

    Raises:
        ValueError: naming the field.
    """
    samples = train.batch_size * train.accumulation_steps
    if "gamma" in loss.weights() and gan.ratio < samples:
        raise ValueError(
            f"gan.ratio: found {gan.ratio}, expected at least batch_size * accumulation_steps "
            f"({samples}): the discriminator takes at most one step for each step of the generator"
        )
