"""The sections of params.yaml, as frozen pydantic models: no key that is not declared here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dcde.base.recipe import Recipe
from dcde.base.section import PositiveInt, Section, Sha256, UserPath


class DataParams(Section):
    source: str
    """`embedded`, or the path of a folder of images."""
    on_bad_image: Literal["skip", "refuse"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Share of photos for evaluation, where the folder has no train/ and val/ of its own."""
    eval_size: Annotated[int, Field(ge=32)]
    """Side of an evaluation crop in pixels."""
    eval_crops: Annotated[int, Field(ge=1, le=5)]
    """Evaluation crops of each photo: the centre, then further ones at full resolution."""


class TeacherParams(Section):
    source: str
    """`bundled:<name>`, `hf:<owner>/<name>[@<revision>][/<folder>]` or a folder."""
    sha256: Sha256 | None
    """Checksum of the weights file; null: it is printed but not checked."""


class BudgetParams(Section):
    decoder_macs: Annotated[float, Field(gt=0, le=1)]
    """Largest share of the teacher's decoder MACs."""


class PruneParams(Section):
    start: str | None
    """A student to go on from, whose decoder is taken as it is, named as a teacher is; null: the
    teacher is pruned as the other fields say, which have no say otherwise."""
    depth_list: tuple[Annotated[int, Field(ge=0)], ...] | None
    """Blocks that the student keeps in each stage of the decoder; null: as the budget says."""
    budget: BudgetParams | None
    """What the student may cost, in place of a depth list."""
    method: Literal["direct", "gap", "random", "last", "influence"]
    """Which blocks of a stage the student gets. `direct`: the teacher's first; `gap`: those at even
    intervals; `last`: its last; `influence`: those that were measured to do most; `random`: as many
    blocks with fresh weights, where a stage loses any."""
    influence: Literal["stream", "output"]
    """What a block's influence is: change of the residual stream, or of the image without it."""
    width_list: tuple[PositiveInt, ...] | None
    """Channels of the student in each stage of the decoder; null: as the teacher's."""
    inner_ratio: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None
    """Share of the channels inside the blocks that is kept in each stage; null: as many as the
    stage's width falls."""
    channels: Literal["direct", "gap", "random", "magnitude", "activation"] | None
    """Which channels are kept: the first, those at even intervals, some at random, or those of the
    highest score; null: direct."""
    repair: bool
    """Whether what is left is fitted to the teacher in closed form after cutting."""
    calibration_images: PositiveInt
    """Training photos on which influence and activations are measured, and that repair fits on."""

    @model_validator(mode="after")
    def _check(self) -> PruneParams:
        if (self.depth_list is None) == (self.budget is None):
            both = "both" if self.budget else "neither"
            raise ValueError(f"depth_list and budget: found {both}, expected one of them")
        if self.budget and self.method != "influence":
            raise ValueError(
                f"method: found {self.method!r} with a budget, which drops the blocks of the least "
                "influence: expected 'influence'"
            )
        if self.channels and not self.narrows:
            raise ValueError(
                f"channels: found {self.channels!r}, but width_list and inner_ratio are both null, "
                "so that no channel is cut: expected null"
            )
        return self

    @property
    def narrows(self) -> bool:
        """Whether channels are cut."""
        return self.width_list is not None or self.inner_ratio is not None


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
    """Precision of the weights and of the features inside the decoder."""
    warmup_runs: PositiveInt
    runs: PositiveInt


class Params(Recipe):
    """The whole of params.yaml."""

    launcher: str
    """Command before `-m stages.distill` and `-m stages.eval`."""
    data: DataParams
    teacher: TeacherParams
    prune: PruneParams
    eval: EvalParams
    profile: ProfileParams
