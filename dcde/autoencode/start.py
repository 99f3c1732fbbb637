"""The model that training starts from: a named architecture with random weights, or a model."""

from __future__ import annotations

import torch
from torch import nn

from dcde.model import DCAE, DCAEConfig, zoo_config
from dcde.model.blocks import GLUMBConv, LiteMLA, ResBlock, RMSNorm2d
from dcde.model.sources import known_config, load_model
from dcde.model.zoo import zoo_names

BRANCH_SCALE = 0.1
"""Weight of a residual branch's last norm at the start of training."""


def is_trained(start: str) -> bool:
    """Return whether the start is a trained model rather than the name of an architecture."""
    return start not in zoo_names()


def start_config(start: str) -> DCAEConfig | None:
    """Return the architecture that training starts from, if it is known without a download."""
    return known_config(start, "start") if is_trained(start) else zoo_config(start)


def start_model(start: str, seed: int) -> DCAE:
    """Return the model of this source, or this architecture with weights drawn from the seed."""
    if is_trained(start):
        return load_model(start, "start")
    torch.manual_seed(seed)
    model = DCAE(zoo_config(start))
    quiet_branches(model)
    return model


def quiet_branches(model: DCAE) -> None:
    """Start every residual branch small: its last norm gets weight `BRANCH_SCALE`.

    With branches at full scale, the residual stream of a briefly trained model outgrows them, and
    its blocks can be dropped at no loss.
    """
    for module in model.modules():
        if isinstance(module, ResBlock):
            last = module.conv2
        elif isinstance(module, LiteMLA):
            last = module.proj
        elif isinstance(module, GLUMBConv):
            last = module.point_conv
        else:
            continue
        norm = last.norm
        assert isinstance(norm, nn.BatchNorm2d | RMSNorm2d)
        nn.init.constant_(norm.weight, BRANCH_SCALE)
