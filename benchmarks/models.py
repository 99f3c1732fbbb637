"""Models that benchmarks measure, by short names: published ones, and students of presets."""

from __future__ import annotations

import torch

from dcde.base.paths import PRESETS
from dcde.commands.preset import preset_row
from dcde.model import DCAE, DCAEConfig, zoo_config
from dcde.model.dcae import build_on_meta

PUBLISHED = {
    "f32c32-in": "dc-ae-f32c32-in-1.0",
    "w4-v3": "dc-ae-f32c32-in-1.0-w4-v3",
    "sana": "dc-ae-f32c32-sana-1.0",
}
TEACHERS = {
    "w4-v3": "f32c32-in",
    "in-3x": "f32c32-in",
    "in-6x": "f32c32-in",
    "sana-2x": "sana",
    "sana-4x": "sana",
}
"""Students and their teachers."""


def full_size_config(name: str) -> DCAEConfig:
    """The architecture of a name in `PUBLISHED` or of a preset's student."""
    if name in PUBLISHED:
        return zoo_config(PUBLISHED[name])
    return preset_row(PRESETS, name).student


def random_model(config: DCAEConfig) -> DCAE:
    """Weights that keep the scale of features, without the minutes that torch's own take."""
    torch.manual_seed(0)
    model = build_on_meta(config).to_empty(device="cpu")
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        else:
            tensor.fill_(1.0 if name.endswith((".weight", "running_var")) else 0.0)  # of norms
    return model.eval()
