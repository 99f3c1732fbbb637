"""Convert models to and from diffusers' implementation."""

from __future__ import annotations

import json
from typing import Any

from dcde.base.torchvision_check import check_torchvision
from dcde.model import DCAE
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_format import (
    NARROW_CLASS,
    config_from_diffusers,
    config_to_diffusers,
    from_diffusers,
    to_diffusers,
)
from dcde.model.weights import plain_names


def diffusers_model(model: DCAE) -> Any:
    """Return diffusers' model with these weights, in eval mode, on the same device.

    It is an `AutoencoderDC`, or a `NarrowAutoencoderDC` if the model has inner widths.

    Raises:
        ImportError: if diffusers is not installed.
    """
    check_torchvision()  # diffusers imports it
    from diffusers import AutoencoderDC

    raw, kind = config_to_diffusers(model.config), AutoencoderDC
    if raw["_class_name"] == NARROW_CLASS:
        from dcde.model.narrow_autoencoder_dc import NarrowAutoencoderDC

        kind = NarrowAutoencoderDC
    peer = kind.from_config(raw)
    peer.load_state_dict(to_diffusers(plain_names(model.state_dict()), model.config))
    return peer.to(next(model.parameters()).device).eval()


def from_diffusers_model(peer: Any) -> DCAE:
    """Return our model of diffusers' `AutoencoderDC`, in the same mode; it may share weights.

    Raises:
        NotExpressibleError: naming the field of its configuration that ours can't express.
    """
    config = config_from_diffusers(json.loads(peer.to_json_string()), type(peer).__name__)
    model = build_on_meta(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = from_diffusers(plain_names(peer.state_dict()), shapes, config)
    model.load_state_dict(state, assign=True)
    return model.train(peer.training)
