"""diffusers' implementation of the same model, to compare with."""

from __future__ import annotations

from typing import Any

from dcde.model import DCAE
from dcde.model.diffusers_format import config_to_diffusers, to_diffusers
from dcde.perceptual import import_torchvision


def diffusers_model(model: DCAE) -> Any:
    """`AutoencoderDC` with the model's weights, in eval mode, on its device.

    Raises:
        ImportError: if diffusers is not installed.
        ValueError: naming what of the model its class can't express.
    """
    import_torchvision()  # which diffusers imports
    from diffusers import AutoencoderDC

    peer = AutoencoderDC.from_config(config_to_diffusers(model.config))
    peer.load_state_dict(to_diffusers(model.state_dict(), model.config))
    return peer.to(next(model.parameters()).device).eval()
