"""Encode once for all models that share an encoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dcde.model.dcae import DCAE


class SharedEncoders:
    """The encoders of several models; a student usually has its teacher's.

    Args:
        models: by name, all on one device.
    """

    def __init__(self, models: Mapping[str, DCAE]) -> None:
        self._encoder_of: dict[str, str] = {}
        for name, model in models.items():
            same = (n for n in self._encoder_of.values() if same_encoder(models[n], model))
            self._encoder_of[name] = next(same, name)
        self._models = models

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, H, W) in [-1, 1]; return latents by model."""
        latents = {n: self._models[n].encode(image) for n in set(self._encoder_of.values())}
        return {name: latents[encoder] for name, encoder in self._encoder_of.items()}


def same_encoder(a: DCAE, b: DCAE) -> bool:
    """Return whether two models give the same latents."""
    ours, theirs = a.encoder.state_dict(), b.encoder.state_dict()
    return a.config.encoder == b.config.encoder and all(
        torch.equal(tensor, theirs[name]) for name, tensor in ours.items()
    )
