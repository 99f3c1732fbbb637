"""Measurements on calibration images: the energy of activations, and the quality of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE
from dcde.model.blocks import RMSNorm2d


@torch.no_grad()
def input_energy(model: DCAE, latents: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the mean square of each input channel of the decoder's convolutions and RMS norms.

    Args:
        latents: batches of (B, latent_channels, h, w), on the model's device.

    Returns:
        Name of the module in the decoder to (channels,), on the CPU.
    """
    total: dict[str, Tensor] = {}

    def listen(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            squares = inputs[0].float().square().mean(dim=(2, 3)).sum(dim=0).cpu()
            total[name] = total.get(name, torch.zeros(())) + squares

        return module.register_forward_pre_hook(note)

    handles = [
        listen(name, module)
        for name, module in model.decoder.named_modules()
        if isinstance(module, nn.Conv2d | RMSNorm2d)
    ]
    for batch in latents:
        model.decode(batch)
    for handle in handles:
        handle.remove()
    images = sum(map(len, latents))
    return {name: squares / images for name, squares in total.items()}


@torch.inference_mode()
def picture_scores(
    model: DCAE, latents: Sequence[Tensor], images: Tensor, lpips_metric: nn.Module
) -> dict[str, float]:
    """Return mean PSNR in dB and mean LPIPS of decoded pictures.

    Args:
        latents: batches, in the order of the images.
        images: (B, 3, H, W) in [-1, 1].
    """
    originals = images.split([len(latent) for latent in latents])
    pictures = [model.decode(latent).clamp(-1, 1) for latent in latents]
    distances = [lpips_metric(*pair).flatten() for pair in zip(pictures, originals, strict=True)]
    return {
        "psnr_db": mean_psnr_db(pictures, originals),
        "lpips": torch.cat(distances).mean().item(),
    }
