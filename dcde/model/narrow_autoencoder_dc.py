"""diffusers' `AutoencoderDC` with fewer channels inside the blocks of its decoder.

This file needs torch and diffusers alone: a copy of it lies in each folder that holds such a model,
so that `AutoModel.from_pretrained(folder, trust_remote_code=True)` loads it anywhere. It is a part
of DCDE, which makes smaller decoders for DC-AE.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from diffusers import AutoencoderDC, ModelMixin  # noqa: F401  (pipelines look for it here)
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_dc import ResBlock
from torch import nn

MODULE = "narrow_autoencoder_dc"
"""What a pipeline writes down as the module of such a part. When it is loaded, it looks for a file
of this name in the part's own folder, or, where it is given the part, for the module."""
sys.modules.setdefault(MODULE, sys.modules[__name__])


class NarrowAutoencoderDC(AutoencoderDC):
    """`AutoencoderDC` and one more field of its configuration; all else is as there.

    Args:
        decoder_inner_channels: for each stage of the decoder, the channels between the two
            convolutions of a `ResBlock`, or those that the gated convolution of an
            `EfficientViTBlock` gives to its last one; None: as `AutoencoderDC` has them.
    """

    __module__ = MODULE
    _auto_class = "AutoModel"

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 32,
        attention_head_dim: int = 32,
        encoder_block_types: str | tuple[str, ...] = "ResBlock",
        decoder_block_types: str | tuple[str, ...] = "ResBlock",
        encoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024),
        decoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024),
        encoder_layers_per_block: tuple[int, ...] = (2, 2, 2, 3, 3, 3),
        decoder_layers_per_block: tuple[int, ...] = (3, 3, 3, 3, 3, 3),
        encoder_qkv_multiscales: tuple[tuple[int, ...], ...] = ((), (), (), (5,), (5,), (5,)),
        decoder_qkv_multiscales: tuple[tuple[int, ...], ...] = ((), (), (), (5,), (5,), (5,)),
        upsample_block_type: str = "pixel_shuffle",
        downsample_block_type: str = "pixel_unshuffle",
        decoder_norm_types: str | tuple[str, ...] = "rms_norm",
        decoder_act_fns: str | tuple[str, ...] = "silu",
        encoder_out_shortcut: bool = True,
        decoder_in_shortcut: bool = True,
        decoder_conv_act_fn: str = "relu",
        scaling_factor: float = 1.0,
        decoder_inner_channels: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            latent_channels=latent_channels,
            attention_head_dim=attention_head_dim,
            encoder_block_types=encoder_block_types,
            decoder_block_types=decoder_block_types,
            encoder_block_out_channels=encoder_block_out_channels,
            decoder_block_out_channels=decoder_block_out_channels,
            encoder_layers_per_block=encoder_layers_per_block,
            decoder_layers_per_block=decoder_layers_per_block,
            encoder_qkv_multiscales=encoder_qkv_multiscales,
            decoder_qkv_multiscales=decoder_qkv_multiscales,
            upsample_block_type=upsample_block_type,
            downsample_block_type=downsample_block_type,
            decoder_norm_types=decoder_norm_types,
            decoder_act_fns=decoder_act_fns,
            encoder_out_shortcut=encoder_out_shortcut,
            decoder_in_shortcut=decoder_in_shortcut,
            decoder_conv_act_fn=decoder_conv_act_fn,
            scaling_factor=scaling_factor,
        )
        if decoder_inner_channels is None:
            return
        stages = len(decoder_block_out_channels)
        whole = all(isinstance(n, int) and n > 0 for n in decoder_inner_channels)
        if len(decoder_inner_channels) != stages or not whole:
            raise ValueError(
                f"decoder_inner_channels: found {decoder_inner_channels}, expected {stages} whole "
                "numbers above 0, one for each stage of the decoder"
            )
        for stage, inner in zip(self.decoder.up_blocks, decoder_inner_channels, strict=True):
            for block in stage:
                if isinstance(block, ResBlock):
                    width = block.conv1.in_channels
                    block.conv1 = nn.Conv2d(width, inner, 3, padding=1)
                    block.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
                elif hasattr(block, "conv_out"):  # not an upsampling
                    glu, width = block.conv_out, block.conv_out.conv_inverted.in_channels
                    glu.conv_inverted = nn.Conv2d(width, 2 * inner, 1)
                    glu.conv_depth = nn.Conv2d(2 * inner, 2 * inner, 3, padding=1, groups=2 * inner)
                    glu.conv_point = nn.Conv2d(inner, width, 1, bias=False)

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As every model's; `auto_map`, which says where this class is, is no argument of it."""
        known = {key: value for key, value in config_dict.items() if key != "auto_map"}
        return super().extract_init_dict(known, **kwargs)

    def save_config(self, save_directory: str, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write config.json as every model does, and this file beside it."""
        super().save_config(save_directory, push_to_hub=push_to_hub, **kwargs)
        copy = Path(save_directory) / f"{MODULE}.py"
        if not copy.exists() or not copy.samefile(__file__):
            shutil.copyfile(__file__, copy)
