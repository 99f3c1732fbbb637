"""The costs of an architecture: parameters and multiply-accumulates (MACs)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dcde.model import DCAEConfig
from dcde.model.dcae import Decoder, build_on_meta


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, example: Tensor) -> int:
    """Count the MACs of convolutions and matrix products: half the FLOPs of torch's counter.

    On the meta device nothing is computed.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(example)
    return counter.get_total_flops() // 2


def static_costs(config: DCAEConfig, resolution: int) -> dict[str, int]:
    """Return parameters, and MACs for one image of `resolution` x `resolution` pixels."""
    model = build_on_meta(config)
    image = torch.empty(1, 3, resolution, resolution, device="meta")
    encoder, decoder = count_macs(model.encoder, image), decoder_macs(config, resolution)
    return {
        "encoder_params": count_parameters(model.encoder),
        "decoder_params": count_parameters(model.decoder),
        "encoder_macs": encoder,
        "decoder_macs": decoder,
        "total_macs": encoder + decoder,
    }


def decoder_macs(config: DCAEConfig, resolution: int) -> int:
    """Return the MACs to decode one image of `resolution` x `resolution` pixels."""
    side = resolution // config.downsampling
    latent = torch.empty(1, config.latent_channels, side, side, device="meta")
    with torch.device("meta"):
        decoder = Decoder(config.decoder, config.latent_channels)
    return count_macs(decoder, latent)


def decoder_macs_share(teacher: DCAEConfig, student: DCAEConfig) -> float:
    """Return the student's decoder MACs over the teacher's; image size hardly matters."""
    size = max(256, teacher.downsampling)
    return decoder_macs(student, size) / decoder_macs(teacher, size)


def saved_percent(costs: Mapping[str, int], teacher: Mapping[str, int]) -> dict[str, float]:
    """Return the share of the teacher's MACs that is saved, in percent."""
    return {
        f"{name}_saved_percent": 100 * (1 - costs[name] / teacher[name])
        for name in ("decoder_macs", "total_macs")
    }
