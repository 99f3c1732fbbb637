"""The sections of params.yaml, as frozen pydantic models: no key that is not declared here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"found {value!r}, expected 64 hexadecimal digits in lower case")
    return value


Sha256 = Annotated[str, AfterValidator(_sha256)]


class Section(BaseModel):
    """A section of params.yaml: frozen, and no key that is not declared here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class DataParams(Section):
    source: str
    """`embedded`, or the path of a folder of images."""
    on_bad_image: Literal["skip", "refuse"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Share of photos for evaluation, where the folder has no train/ and val/ of its own."""
    eval_size: Annotated[int, Field(ge=32)]
    """Side of an evaluation crop in pixels."""
    eval_crops: PositiveInt
    """Evaluation crops of each photo: the centre, then further ones at full resolution."""


class TeacherParams(Section):
    source: str
    """`bundled:<name>`, `hf:<repo>[@revision]` or a folder."""
    sha256: Sha256 | None
    """Of the weights file; null: not checked, but printed."""


class BudgetParams(Section):
    decoder_macs: Annotated[float, Field(gt=0, le=1)]
    """Largest share of the teacher's decoder MACs."""


class PruneParams(Section):
    depth_list: tuple[Annotated[int, Field(ge=0)], ...] | None
    """Blocks that the student keeps in each stage of the decoder; null: as the budget says."""
    budget: BudgetParams | None
    """What the student may cost, in place of a depth list."""
    keep: Literal["first", "last", "even", "influence"] | None
    """Which blocks of a stage are kept; null: as `method` says."""
    method: Literal["direct", "gap", "random"]
    """direct: the first blocks; gap: at even intervals; random: fresh weights."""
    influence: Literal["stream", "output"]
    """What a block's influence is: change of the residual stream, or of the image without it."""
    width_list: tuple[PositiveInt, ...] | None
    """Channels of the student in each stage of the decoder; null: as the teacher's."""
    inner_ratio: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None
    """Share of the channels inside the blocks that is kept in each stage; null: as many as the
    stage's width falls."""
    channels: Literal["direct", "gap", "random", "magnitude", "activation"] | None
    """Which channels are kept; null: direct."""
    recalibrate: bool
    """Whether batch-norm statistics are estimated anew after pruning."""
    calibration_images: PositiveInt
    """Training photos on which influence, activations and batch-norm statistics are measured."""

    @model_validator(mode="after")
    def _check(self) -> PruneParams:
        if (self.depth_list is None) == (self.budget is None):
            both = "both" if self.budget else "neither"
            raise ValueError(f"depth_list and budget: found {both}, expected one of them")
        if self.budget and self.keep not in (None, "influence"):
            raise ValueError(
                f"keep: found {self.keep!r} with a budget, which chooses by influence: expected "
                "influence or null"
            )
        if self.method == "random" and (self.measures or self.keep):
            raise ValueError(
                "method: found 'random', which keeps no block, but keep or budget chooses some"
            )
        if self.channels and not self.narrows:
            raise ValueError(
                f"channels: found {self.channels!r}, but width_list and inner_ratio are both null"
            )
        return self

    @property
    def measures(self) -> bool:
        """Whether blocks are chosen by measured influence."""
        return self.keep == "influence" or self.budget is not None

    @property
    def narrows(self) -> bool:
        """Whether channels are cut."""
        return self.width_list is not None or self.inner_ratio is not None


class OptimizerParams(Section):
    """AdamW with a cosine schedule with warm restarts, for one net."""

    lr: PositiveFloat
    weight_decay: Weight
    cosine_t0: PositiveInt
    """Epochs of the first cosine period."""
    cosine_t_mult: PositiveInt
    eta_min: Weight
    """Learning rate at the end of a period."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps in which the learning rate rises linearly from 0."""


class GanParams(Section):
    ratio: PositiveInt
    """Training samples between two steps of the discriminator."""
    loss: Literal["bce", "lsgan", "hinge"]
    norm: Literal["batch", "group", "spectral"]
    """Of the discriminator: batch norm as in pix2pix, group norm, or spectral norm of weights."""


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
                f"division_epoch: found {self.division_epoch}, "
                f"expected less than epochs ({self.epochs}) as dynamic_loss is on"
            )
        return self


LossParams = dict[str, Weight]
"""Weight of each loss term by name (see `dcde.losses`), and `gamma` of the GAN."""


class EvalParams(Section):
    batch_size: PositiveInt
    fid: bool
    """Whether FID with pytorch-fid's Inception is measured too."""
    inception_weights: UserPath | None
    """pytorch-fid's weights file; null: downloaded once."""
    fid_stats: UserPath | None
    """npz with `mu` and `sigma` of the originals; null: of the pictures evaluated."""
    grid_images: PositiveInt
    """Images in the picture grid."""


class ProfileParams(Section):
    resolutions: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Sides of square images in pixels."""
    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Latents decoded at a time."""
    precision: Literal["fp32", "bf16"]
    """Of weights and maps."""
    warmup_runs: PositiveInt
    runs: PositiveInt


class RuntimeParams(Section):
    """What changes no result; DVC does not track it."""

    workers: Annotated[int, Field(ge=0)]
    log_every: PositiveInt
    """Steps between two rows of the loss curves."""
    save_minutes: PositiveFloat
    """Minutes between two saved states inside an epoch."""


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    launcher: str
    """Command before `-m stages.distill` and `-m stages.eval`."""
    data: DataParams
    teacher: TeacherParams
    prune: PruneParams
    distill: DistillParams
    loss: LossParams
    gan: GanParams
    optimizer: OptimizerParams
    """Of the student."""
    optimizer_d: OptimizerParams
    """Of the discriminator."""
    eval: EvalParams
    profile: ProfileParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _check(self) -> Params:
        check_gan(self.loss, self.gan, self.distill)
        return self


def check_gan(loss: LossParams, gan: GanParams, train: TrainParams) -> None:
    samples = train.batch_size * train.accumulation_steps
    if loss.get("gamma", 0) > 0 and gan.ratio < samples:
        raise ValueError(
            f"gan.ratio: found {gan.ratio}, expected at least batch_size * accumulation_steps "
            f"({samples}): the discriminator takes at most one step for each step of the generator"
        )
