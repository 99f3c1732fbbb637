"""diffusers' implementation of the same model, to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dcde.base.torchvision_check import check_torchvision
from dcde.model import DCAE
from dcde.model.diffusers_format import config_to_diffusers, to_diffusers


def diffusers_model(model: DCAE) -> Any:
    """`AutoencoderDC` with the model's weights, in eval mode, on its device.

    Its configuration knows no inner widths: where the model has them, the instance is narrowed. It
    decodes as it is in any pipeline, but diffusers can't save and load it.

    Raises:
        ImportError: if diffusers is not installed.
        NotExpressibleError: naming what of the model its class can't express.
    """
    check_torchvision()  # which diffusers imports
    from diffusers import AutoencoderDC

    whole = model.config.with_decoder(model.config.name, inner_widths=None)
    peer = AutoencoderDC.from_config(config_to_diffusers(whole))
    state = to_diffusers(model.state_dict(), model.config)
    _narrow_inside(peer, state)
    peer.load_state_dict(state)
    return peer.to(next(model.parameters()).device).eval()


def _narrow_inside(peer: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Narrow the convolutions that the weights don't fit."""
    for name, conv in peer.named_modules():
        if isinstance(conv, nn.Conv2d) and conv.weight.shape != state[f"{name}.weight"].shape:
            weight = state[f"{name}.weight"]
            conv.groups = len(weight) if conv.groups > 1 else 1  # depthwise, or none
            conv.in_channels, conv.out_channels = weight.shape[1] * conv.groups, len(weight)
            conv.weight = nn.Parameter(torch.empty_like(weight))
            if conv.bias is not None:
                conv.bias = nn.Parameter(torch.empty_like(weight[:, 0, 0, 0]))
