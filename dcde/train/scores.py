"""Score a model's pictures while it trains."""

from __future__ import annotations

from collections.abc import Callable, Sized

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dcde.data.pixels import to_model_range, to_uint8
from dcde.metrics.pictures import batch_psnr_db
from dcde.train.learner import Batch


@torch.inference_mode()
def mean_scores(
    reconstruct: Callable[[Batch], Tensor],
    items: Dataset[Batch],
    lpips_metric: nn.Module,
    batch_size: int,
) -> dict[str, float]:
    """Return mean PSNR in dB and mean LPIPS of pictures, rounded to the 8 bits they are saved with.

    Args:
        reconstruct: a batch on the device, with "image" (B, 3, H, W) in [-1, 1] and what else the
            items have but their pixels, to the pictures.
        items: each {"pixels": (3, H, W) uint8, ...}.
        lpips_metric: on the device.
    """
    assert isinstance(items, Sized)
    device = next(lpips_metric.parameters()).device
    sums = torch.zeros(2, device=device)
    for batch in DataLoader(items, batch_size):
        originals = to_model_range(batch.pop("pixels").to(device))
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        images = to_model_range(to_uint8(reconstruct({**on_device, "image": originals})))
        scores = (batch_psnr_db(images, originals), lpips_metric(images, originals))
        sums += torch.stack([score.sum() for score in scores])
    psnr, lpips_mean = (sums / len(items)).tolist()
    return {"psnr_db": psnr, "lpips": lpips_mean}
