"""The published architectures, thin and shallow, to compare implementations on."""

from typing import Any

from torch import Tensor

from dcde.model import DCAEConfig, zoo_config


def scaled_down(name: str, latent_channels: int) -> DCAEConfig:
    """A named architecture with its blocks and stages, but thin and shallow."""
    full = zoo_config(name)
    n = len(full.encoder.widths)
    widths = tuple(32 if i < n // 2 else 64 for i in range(n))

    def shallow(depths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(min(d, 2) for d in depths)

    sides = {
        side: whole.model_copy(update={"widths": widths, "depths": shallow(whole.depths)})
        for side, whole in (("encoder", full.encoder), ("decoder", full.decoder))
    }
    return full.model_copy(update={"latent_channels": latent_channels, **sides})


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


PEERS = [
    ("dc-ae-f32c32-in-1.0", 32),
    ("dc-ae-f32c32-sana-1.0", 32),
    ("dc-ae-f64c128-in-1.0", 64),
    ("dc-ae-lite-f32c32", 32),
]


def peer(config: DCAEConfig) -> Any:
    """diffusers' model of the same architecture, written without our own conversion."""

    def scales(types: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple((5,) if t == "S" else () for t in types)

    def names(types: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("ResBlock" if t == "R" else "EfficientViTBlock" for t in types)

    encoder, decoder = config.encoder, config.decoder
    norm_names = {"bn2d": "batch_norm", "trms2d": "rms_norm"}
    from diffusers import AutoencoderDC

    return AutoencoderDC(
        latent_channels=config.latent_channels,
        encoder_block_types=names(encoder.block_types),
        decoder_block_types=names(decoder.block_types),
        encoder_block_out_channels=encoder.widths,
        decoder_block_out_channels=decoder.widths,
        encoder_layers_per_block=encoder.depths,
        decoder_layers_per_block=decoder.depths,
        encoder_qkv_multiscales=scales(encoder.block_types),
        decoder_qkv_multiscales=scales(decoder.block_types),
        upsample_block_type=(
            "pixel_shuffle" if decoder.upsample == "ConvPixelShuffle" else "interpolate"
        ),
        downsample_block_type=(
            "pixel_unshuffle" if encoder.downsample == "ConvPixelUnshuffle" else "conv"
        ),
        decoder_norm_types=tuple(norm_names[x] for x in decoder.norms),
        decoder_act_fns=decoder.acts,
        decoder_conv_act_fn=decoder.out_act,
    ).eval()
