"""The Deep Compression AutoEncoder (Chen et al., arXiv 2410.10733).

Images are (B, 3, H, W) in [-1, 1]; H and W are multiples of `config.downsampling`.
Latents are (B, latent_channels, H / downsampling, W / downsampling), not scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn

from dcde.model.blocks import (
    ChannelAverage,
    ChannelDuplicate,
    ConvLayer,
    OpSequential,
    Residual,
    RMSNorm2d,
    build_act,
    build_block,
    build_downsample,
    build_upsample,
)
from dcde.model.spec import DCAEConfig, DecoderConfig, EncoderConfig

Tap = str
"""A place to read a feature from: "stage<i>", after the decoder's stage i; "stream", before
`project_out`; "norm", after its norm; "act", after its activation; "image", its output."""


def stage_taps(decoder: DecoderConfig) -> list[Tap]:
    """Return the taps after each of a decoder's stages, from the highest resolution."""
    return [f"stage{i}" for i in range(decoder.first_stage, len(decoder.widths))]


class Encoder(nn.Module):
    """Image to latent: `project_in`, stages 0..n-1, `project_out`."""

    def __init__(self, config: EncoderConfig, latent_channels: int) -> None:
        super().__init__()
        widths, first = config.widths, config.first_stage
        self.project_in = (
            ConvLayer(3, widths[0])
            if first == 0
            else build_downsample(config.downsample, 3, widths[1])
        )
        stages = []
        for i, (kind, width, depth) in enumerate(config.stages()):
            inner = config.inner_width(i)
            ops = [build_block(kind, width, inner, "trms2d", "silu") for _ in range(depth)]
            if depth > 0 and i + 1 < len(widths):
                down = build_downsample(config.downsample, width, widths[i + 1])
                ops.append(Residual(down, ChannelAverage(widths[i + 1], 2)))
            stages.append(OpSequential(ops))
        self.stages = nn.ModuleList(stages)
        self.project_out = Residual(
            OpSequential([ConvLayer(widths[-1], latent_channels)]),
            ChannelAverage(latent_channels, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.project_in(image)
        for stage in self.stages:
            x = stage(x)
        return self.project_out(x)


class Decoder(nn.Module):
    """Latent to image: `project_in`, stages n-1..0, `project_out`."""

    def __init__(self, config: DecoderConfig, latent_channels: int) -> None:
        super().__init__()
        widths, first = config.widths, config.first_stage
        self.project_in = Residual(
            ConvLayer(latent_channels, widths[-1]),
            ChannelDuplicate(latent_channels, widths[-1], 1),
        )
        stages = []
        for i, (kind, width, depth) in enumerate(config.stages()):
            ops: list[nn.Module] = []
            if depth > 0 and i + 1 < len(widths):
                up = build_upsample(config.upsample, widths[i + 1], width)
                ops.append(Residual(up, ChannelDuplicate(widths[i + 1], width, 2)))
            inner, norm, act = config.inner_width(i), config.norms[i], config.acts[i]
            ops += [build_block(kind, width, inner, norm, act) for _ in range(depth)]
            stages.append(OpSequential(ops))
        self.stages = nn.ModuleList(stages)
        out_conv = (
            ConvLayer(widths[0], 3) if first == 0 else build_upsample(config.upsample, widths[1], 3)
        )
        out_act = build_act(config.out_act)
        assert out_act is not None
        self.project_out = OpSequential([RMSNorm2d(widths[first]), out_act, out_conv])

    def forward(
        self, latent: Tensor, taps: Sequence[Tap] | None = None
    ) -> Tensor | tuple[Tensor, dict[Tap, Tensor]]:
        """Decode; given `taps`, return their features too, from the same pass."""
        seen: dict[Tap, Tensor] = {}
        x = self.project_in(latent)
        for i in reversed(range(len(self.stages))):
            x = self.stages[i](x)
            seen[f"stage{i}"] = x
        norm, act, conv = self.project_out.op_list
        seen["stream"] = x
        seen["norm"] = norm(x)
        seen["act"] = act(seen["norm"])
        seen["image"] = image = conv(seen["act"])
        if taps is None:
            return image
        return image, {tap: seen[tap] for tap in taps}


class DCAE(nn.Module):
    """A DC-AE built from its configuration."""

    def __init__(self, config: DCAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, config.latent_channels)
        self.decoder = Decoder(config.decoder, config.latent_channels)

    def encode(self, image: Tensor) -> Tensor:
        """Encode (B, 3, H, W) in [-1, 1] to (B, latent_channels, H / f, W / f)."""
        return self.encoder(_outside_inference(image))

    @overload
    def decode(self, latent: Tensor) -> Tensor: ...
    @overload
    def decode(self, latent: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[Tap, Tensor]]: ...
    def decode(
        self, latent: Tensor, taps: Sequence[Tap] | None = None
    ) -> Tensor | tuple[Tensor, dict[Tap, Tensor]]:
        """Decode (B, latent_channels, h, w) to (B, 3, h * f, w * f), about [-1, 1], not clamped.

        Given `taps`, return their features too (see `Tap`).
        """
        return self.decoder(_outside_inference(latent), taps)

    def forward(
        self, image: Tensor, taps: Sequence[Tap] | None = None
    ) -> Tensor | tuple[Tensor, dict[Tap, Tensor]]:
        """Encode and decode."""
        return self.decoder(self.encode(image), taps)


def _outside_inference(x: Tensor) -> Tensor:
    """Copy a tensor made under `inference_mode` where autograd would reject it."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # compilers can't ask it
        return x
    return x.clone() if x.is_inference() else x


def build_on_meta(config: DCAEConfig) -> DCAE:
    """Build the model without memory for its weights, to count or to load weights into."""
    with torch.device("meta"):
        return DCAE(config)
