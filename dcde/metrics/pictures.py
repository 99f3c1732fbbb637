"""How far one picture is from its original: PSNR and SSIM, on pictures as they would be saved.

LPIPS is `dcde.metrics.lpips`'s; distances between sets of pictures are `dcde.metrics.frechet`'s.
scikit-image's metrics are imported where they are used: it takes a second, which every command and
stage would wait for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

EQUAL_DB = 100.0
"""PSNR of equal pictures, in place of infinity."""


def psnr_db(image: np.ndarray, original: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 images; 100 where they are equal."""
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(image, original):
        return EQUAL_DB
    return float(peak_signal_noise_ratio(original, image, data_range=255))


def batch_psnr_db(images: Tensor, originals: Tensor) -> Tensor:
    """PSNR in dB of each of a batch, on the device: (B, 3, H, W) in [-1, 1] to (B,).

    As `psnr_db`, on pictures that need not be rounded.
    """
    error = (images.clamp(-1, 1) - originals).square().mean(dim=(1, 2, 3))
    return torch.where(error == 0, EQUAL_DB, 10 * torch.log10(4 / error))


_RADIUS = 5
"""SSIM's window reaches so many pixels to each side of its centre."""


def ssim(image: np.ndarray, original: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two (H, W, 3) uint8 images.

    As torchmetrics' `StructuralSimilarityIndexMeasure`, which the DC-AE authors use, at range 255:
    a Gaussian window of deviation 1.5 over 11 pixels, population covariance, mean over channels
    and over the whole picture, reflected at its edges. (torchmetrics before 1.4.2 left out the
    outer 5 pixels, as scikit-image does by itself.)
    """
    from skimage.metrics import structural_similarity

    edges = ((_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0))
    return float(
        structural_similarity(
            np.pad(image, edges, mode="reflect"),
            np.pad(original, edges, mode="reflect"),
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def mean_psnr_db(images: Sequence[Tensor], originals: Sequence[Tensor]) -> float:
    """Mean PSNR in dB, images clamped to [-1, 1] but not rounded."""
    scores = [batch_psnr_db(*pair) for pair in zip(images, originals, strict=True)]
    return torch.cat(scores).mean().item()
