"""The architecture of a DC-AE as data: block types, widths and depths of each stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from dcde.base.errors import UserError

BlockType = Literal["R", "E", "S"]
NormType = Literal["bn2d", "trms2d"]
ActType = Literal["relu", "silu"]

HEAD_DIM = 32
"""Channels of one attention head in the E and S blocks."""
GLU_RATIO = 4
"""Hidden channels of an E or S block's gated convolution, for each channel of the stream."""


class StageConfig(BaseModel):
    """Stages of an encoder or a decoder; stage i works at 1/2^i of the image's resolution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_types: tuple[BlockType, ...]
    """R: residual block; E: EfficientViT block; S: E with a 5x5 branch of its qkv."""
    widths: tuple[int, ...]
    """Channels of each stage. `widths[0]` is unused when `depths[0]` is 0."""
    depths: tuple[int, ...]
    """Blocks of each stage. 0 at stage 0: it is absent, and the outer convolution resamples."""

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        n = len(self.widths)
        if n < 2:
            raise ValueError(f"widths: found {n} stages, expected at least 2")
        for name, value in self:
            if isinstance(value, tuple) and len(value) != n:
                raise ValueError(
                    f"{name}: found {len(value)} entries, expected {n}, one for each stage"
                )
        if any(d < 0 for d in self.depths) or any(d == 0 for d in self.depths[1:]):
            raise ValueError(
                f"depths: found {list(self.depths)}, expected at least 1 "
                "at every stage but the first"
            )
        for i in range(self.first_stage, n):
            if self.block_types[i] != "R" and self.widths[i] % HEAD_DIM:
                raise ValueError(
                    f"widths: stage {i} has {self.widths[i]}, "
                    f"expected a multiple of {HEAD_DIM} for attention heads"
                )
        for i in range(self.first_stage, n - 1):
            fine, coarse = self.widths[i], self.widths[i + 1]
            if 4 * fine % coarse:
                raise ValueError(
                    f"widths: stages {i} and {i + 1} have {fine} and {coarse}, "
                    f"expected 4 * {fine} to be a multiple of {coarse} for the shortcut"
                )
        return self

    def stages(self) -> Iterator[tuple[BlockType, int, int]]:
        """Yield each stage's block type, width and depth."""
        return zip(self.block_types, self.widths, self.depths, strict=True)

    @property
    def first_stage(self) -> int:
        """Return the index of the finest stage that exists."""
        return 0 if self.depths[0] > 0 else 1

    def inner_width(self, stage: int) -> int:
        """Return the channels inside a block: conv1's outputs (R) or the hidden ones (E, S)."""
        return self.widths[stage] * (1 if self.block_types[stage] == "R" else GLU_RATIO)


class EncoderConfig(StageConfig):
    """The encoder's stages. Its norms are trms2d and its activations silu throughout."""

    downsample: Literal["ConvPixelUnshuffle", "Conv"] = "ConvPixelUnshuffle"


class DecoderConfig(StageConfig):
    """The decoder's stages, in order 0..n-1; they run from n-1 to 0."""

    norms: tuple[NormType, ...]
    acts: tuple[ActType, ...]
    upsample: Literal["ConvPixelShuffle", "InterpolateConv"] = "ConvPixelShuffle"
    out_act: ActType = "relu"
    inner_widths: tuple[PositiveInt, ...] | None = None
    """Channels inside the blocks of each stage (see `inner_width`); None: as wide as usual."""

    def inner_width(self, stage: int) -> int:
        if self.inner_widths is None:
            return super().inner_width(stage)
        return self.inner_widths[stage]

    def narrower_than(self, full: DecoderConfig) -> list[int]:
        """Return the stages whose stream has fewer channels than the full decoder's."""
        widths = zip(self.widths, full.widths, strict=True)
        return [i for i, (width, before) in enumerate(widths) if width < before]

    def first_block(self, stage: int) -> int:
        """Return the place of a stage's first block in its `op_list`: after any upsampling."""
        return 1 if self.depths[stage] > 0 and stage + 1 < len(self.widths) else 0


class DCAEConfig(BaseModel):
    """A whole autoencoder (Chen et al., "Deep Compression Autoencoder", arXiv 2410.10733)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    latent_channels: int = Field(gt=0)
    encoder: EncoderConfig
    decoder: DecoderConfig
    scaling_factor: float = 1.0
    """Diffusion models multiply latents by it; `encode` and `decode` don't apply it."""

    @model_validator(mode="after")
    def _check(self) -> DCAEConfig:
        if len(self.encoder.widths) != len(self.decoder.widths):
            raise ValueError(
                f"decoder.widths: found {len(self.decoder.widths)} stages, "
                f"expected {len(self.encoder.widths)} as in the encoder"
            )
        for side, stages in (("encoder", self.encoder), ("decoder", self.decoder)):
            if stages.widths[-1] % self.latent_channels:
                raise ValueError(
                    f"{side}.widths: the last is {stages.widths[-1]}, expected a multiple of "
                    f"latent_channels ({self.latent_channels}) for the shortcut"
                )
        return self

    @property
    def downsampling(self) -> int:
        """Return the image pixels for each latent position, along one side."""
        return 2 ** (len(self.encoder.widths) - 1)

    def check_image_size(self, field: str, size: int) -> None:
        """Reject a size that is no multiple of the downsampling.

        Args:
            field: the parameter that holds it, for the message.
        """
        if size % self.downsampling:
            nearest = max(1, round(size / self.downsampling)) * self.downsampling
            raise UserError(
                f"{field}: found {size} pixels, expected a multiple of {self.downsampling} for "
                f"{self.name}, such as {nearest}"
            )

    def with_decoder_depths(self, depths: tuple[int, ...], name: str) -> DCAEConfig:
        """Return the same model with another decoder depth list."""
        return self.with_decoder(name, depths=depths)

    def with_decoder(self, name: str, **changes: Sequence[int | str] | None) -> DCAEConfig:
        """Return the same model with other fields of the decoder.

        Raises:
            pydantic.ValidationError: if they do not fit each other or the latent.
        """
        decoder = DecoderConfig(**{**self.decoder.model_dump(), **changes})
        return DCAEConfig(**{**dict(self), "decoder": decoder, "name": name})
