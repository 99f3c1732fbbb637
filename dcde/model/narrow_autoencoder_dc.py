"""diffusers' `AutoencoderDC` with fewer channels inside the blocks of its decoder.

This file is part of DCDE, which makes smaller decoders for DC-AE, but only needs torch and
diffusers: a copy is in each folder with such a model, so that
`AutoModel.from_pretrained(folder, trust_remote_code=True)` loads it anywhere.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from diffusers import AutoencoderDC, ModelMixin  # noqa: F401  (pipelines look for it here)
from diffusers.models.autoencoders.autoencoder_dc import ResBlock
from torch import nn

MODULE = "narrow_autoencoder_dc"
"""The module's name in a saved pipeline. Loading looks for a file of this name in the model's
folder, or for the module if the model is passed in."""
sys.modules.setdefault(MODULE, sys.modules[__name__])


class NarrowAutoencoderDC(AutoencoderDC):
    """`AutoencoderDC` with one more field in its configuration.

    Args:
        decoder_inner_channels: for each stage of the decoder, the channels between the two
            convolutions of a `ResBlock`, or those that the gated convolution of an
            `EfficientViTBlock` passes to its last one.
    """

    __module__ = MODULE
    _auto_class = "AutoModel"

    def __init__(self, *, decoder_inner_channels: list[int], **fields: Any) -> None:
        super().__init__(**fields)
        self.register_to_config(decoder_inner_channels=decoder_inner_channels)
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the module's own name: a spawned process finds no module `MODULE`."""
        return sys.modules[__name__]._empty, (), self.__dict__

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """Return a configuration's fields; diffusers would only see our own signature."""
        return {"decoder_inner_channels", *AutoencoderDC._get_init_keys(AutoencoderDC)}

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Leave out `auto_map`: it says where this class is and is no argument."""
        known = {key: value for key, value in config_dict.items() if key != "auto_map"}
        return super().extract_init_dict(known, **kwargs)

    def save_config(self, save_directory: str, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write config.json, and this file beside it."""
        super().save_config(save_directory, push_to_hub=push_to_hub, **kwargs)
        copy = Path(save_directory) / f"{MODULE}.py"
        if not copy.exists() or not copy.samefile(__file__):
            shutil.copyfile(__file__, copy)


def _empty() -> NarrowAutoencoderDC:
    """Return an object for pickle to fill."""
    return NarrowAutoencoderDC.__new__(NarrowAutoencoderDC)
