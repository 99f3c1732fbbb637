"""What a model costs by its architecture alone: parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dcde.model import DCAEConfig
from dcde.model.dcae import build_on_meta


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of convolutions and matrix products: half the FLOPs of torch's counter.

    On the meta device nothing is computed.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(example)
    return counter.get_total_flops() // 2


def static_costs(config: DCAEConfig, resolution: int) -> dict[str, int]:
    """Parameters, and MACs for one image of `resolution` x `resolution` pixels."""
    model = build_on_meta(config)
    image = torch.empty(1, 3, resolution, resolution, device="meta")
    side = resolution // config.downsampling
    latent = torch.empty(1, config.latent_channels, side, side, device="meta")
    encoder_macs = count_macs(model.encoder, image)
    decoder_macs = count_macs(model.decoder, latent)
    return {
        "encoder_params": count_parameters(model.encoder),
        "decoder_params": count_parameters(model.decoder),
        "encoder_macs": encoder_macs,
        "decoder_macs": decoder_macs,
        "total_macs": encoder_macs + decoder_macs,
    }


def reductions(costs: Mapping[str, int], teacher: Mapping[str, int]) -> dict[str, float]:
    """Share of the teacher's cost that was saved, in percent, for decoder and total."""
    both = {
        "decoder_params": (costs["decoder_params"], teacher["decoder_params"]),
        "decoder_macs": (costs["decoder_macs"], teacher["decoder_macs"]),
        "total_params": (_total_params(costs), _total_params(teacher)),
        "total_macs": (costs["total_macs"], teacher["total_macs"]),
    }
    return {f"{name}_saved_percent": 100 * (1 - ours / full) for name, (ours, full) in both.items()}


def _total_params(costs: Mapping[str, int]) -> int:
    return costs["encoder_params"] + costs["decoder_params"]
