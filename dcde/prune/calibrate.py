"""What is measured on calibration images: the energy of activations, batch-norm statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE
from dcde.model.blocks import RMSNorm2d


@torch.no_grad()
def input_energy(model: DCAE, images: Tensor, *, batch_size: int = 8) -> dict[str, Tensor]:
    """Mean square of every input channel of each convolution and RMS norm of the decoder.

    Args:
        images: (B, 3, H, W) in [-1, 1].

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
    for batch in images.split(batch_size):
        model(batch)
    for handle in handles:
        handle.remove()
    return {name: squares / len(images) for name, squares in total.items()}


@torch.no_grad()
def recalibrate(model: DCAE, images: Tensor, *, batch_size: int = 8) -> dict[str, float]:
    """Estimate the decoder's batch-norm statistics anew, from its own activations.

    Args:
        images: (B, 3, H, W) in [-1, 1].

    Returns:
        Mean PSNR in dB on these images, before and after.
    """
    originals = images.split(batch_size)
    latents = [model.encode(batch) for batch in originals]
    before = mean_psnr_db([model.decode(latent) for latent in latents], originals)
    update_bn(latents, model.decoder)
    after = mean_psnr_db([model.decode(latent) for latent in latents], originals)
    return {"psnr_db_before_recalibration": before, "psnr_db_after_recalibration": after}
