"""Compare a picture with its original: PSNR and SSIM, on pictures as they would be saved.

Functions import scikit-image's metrics themselves: it takes a second, which other commands need not
wait for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

EQUAL_DB = 100.0
"""PSNR of equal pictures, instead of infinity."""


def psnr_db(image: np.ndarray, original: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB of (H, W, 3) uint8 images; 100 if equal."""
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(image, original):
        return EQUAL_DB
    return float(peak_signal_noise_ratio(original, image, data_range=255))


def batch_psnr_db(images: Tensor, originals: Tensor) -> Tensor:
    """Return the PSNR in dB of each image, unrounded: (B, 3, H, W) in [-1, 1] to (B,)."""
    error = (images.clamp(-1, 1) - originals).square().mean(dim=(1, 2, 3))
    return torch.where(error == 0, EQUAL_DB, 10 * torch.log10(4 / error))


def ssim(image: np.ndarray, original: np.ndarray) -> float:
    """Return the structural similarity (Wang et al. 2004) of two (H, W, 3) uint8 images.

    This equals torchmetrics' `StructuralSimilarityIndexMeasure`, which the DC-AE authors use: a
    Gaussian window of deviation 1.5 over 11 pixels, population covariance, mean over channels and
    the whole picture, reflected at its edges. (scikit-image alone leaves out the outer 5 pixels.)
    """
    from skimage.metrics import structural_similarity

    edges = ((5, 5), (5, 5), (0, 0))
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
    """Return the mean PSNR in dB, of images clamped to [-1, 1] but not rounded."""
    scores = [batch_psnr_db(*pair) for pair in zip(images, originals, strict=True)]
    return torch.cat(scores).mean().item()
