"""How far reconstructions are from their originals: PSNR, SSIM, LPIPS and Frechet distances.

All are measured on pictures as they would be saved: clamped and rounded to uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcde.data import Crop, CropDataset, to_model_range, to_uint8
from dcde.errors import UserError
from dcde.lite0 import FEATURES, load_lite0
from dcde.model import DCAE
from dcde.perceptual import import_torchvision


def psnr_db(image: np.ndarray, original: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 images; 100 where they are equal."""
    if np.array_equal(image, original):
        return 100.0
    return float(peak_signal_noise_ratio(original, image, data_range=255))


def ssim(image: np.ndarray, original: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two (H, W, 3) uint8 images.

    A Gaussian window of deviation 1.5 over 11 pixels, population covariance, mean over
    channels: the defaults of torchmetrics, which the DC-AE authors use.
    """
    return float(
        structural_similarity(
            image,
            original,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


@dataclass
class Moments:
    """Running mean and covariance of feature vectors, in double precision."""

    features: int
    count: int = 0
    total: np.ndarray = field(init=False)
    products: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.total = np.zeros(self.features)
        self.products = np.zeros((self.features, self.features))

    def update(self, features: Tensor) -> None:
        """Add (B, features)."""
        rows = features.double().cpu().numpy()
        self.count += len(rows)
        self.total += rows.sum(axis=0)
        self.products += rows.T @ rows

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (features,) and the unbiased covariance (features, features)."""
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / max(1, self.count - 1)
        return mean, covariance


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al., arXiv 1706.08500).

    The last trace is the sum of the square roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which
    stays exact for the rank-deficient covariances of few images, where a general matrix square
    root does not.
    """
    (mean_a, cov_a), (mean_b, cov_b) = a.mean_and_covariance(), b.mean_and_covariance()
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ cov_b @ root)
    cross = np.sqrt(eigenvalues.clip(min=0)).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(max(0.0, distance))


def load_fid_inception() -> nn.Module:
    """pytorch-fid's Inception, (B, 3, H, W) in [-1, 1] to (B, 2048), resized to 299 inside.

    Raises:
        UserError: if its weights are neither cached nor to be downloaded.
    """
    import_torchvision()
    from pytorch_fid.inception import InceptionV3

    try:
        network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]], normalize_input=False)
    except OSError as error:
        raise UserError(
            f"eval.fid: pytorch-fid can't download its Inception weights ({error}); connect to the "
            "internet once, or set eval.fid to false"
        ) from None
    return nn.Sequential(network.requires_grad_(False), _FirstOutput()).eval()


class _FirstOutput(nn.Module):
    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        return outputs[0].flatten(1)


class Scores:
    """Scores of one model, gathered image by image."""

    def __init__(self, networks: Mapping[str, int]) -> None:
        self.values: dict[str, list[float]] = {"psnr_db": [], "ssim": [], "lpips": []}
        self.moments = {name: Moments(size) for name, size in networks.items()}

    def means(self) -> dict[str, float]:
        """Mean of each score over the images."""
        return {name: float(np.mean(values)) for name, values in self.values.items()}


FrechetNetworks = Mapping[str, tuple[nn.Module, int]]
"""Name of each distance to its network, (B, 3, H, W) in [-1, 1] to (B, size), and its size."""


@torch.inference_mode()
def evaluate(
    models: Mapping[str, DCAE],
    crops: Sequence[Crop],
    *,
    lpips_metric: nn.Module,
    networks: FrechetNetworks,
    batch_size: int,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Scores of each model on the same crops: psnr_db, ssim, lpips and one for each network.

    The models share an encoder, as pruning leaves it untouched: each crop is encoded once.
    """
    sizes = {name: size for name, (_, size) in networks.items()}
    scores = {name: Scores(sizes) for name in models}
    originals = {name: Moments(size) for name, size in sizes.items()}
    encoder = next(iter(models.values()))
    loader = DataLoader(CropDataset(crops), batch_size)
    for batch in tqdm(loader, desc="evaluate", unit="batch"):
        pixels = batch["pixels"].to(device)
        image = to_model_range(pixels)
        latent = encoder.encode(image)
        pictures = {name: to_uint8(model.decode(latent)) for name, model in models.items()}
        for name, (network, _) in networks.items():
            originals[name].update(network(image))
            for model_name in models:
                rounded = to_model_range(pictures[model_name])
                scores[model_name].moments[name].update(network(rounded))
        for model_name in models:
            values = scores[model_name].values
            rounded = to_model_range(pictures[model_name])
            values["lpips"] += lpips_metric(rounded, image).flatten().tolist()
            for ours, original in zip(pictures[model_name], pixels, strict=True):
                pair = [x.permute(1, 2, 0).cpu().numpy() for x in (ours, original)]
                values["psnr_db"].append(psnr_db(*pair))
                values["ssim"].append(ssim(*pair))
    return {
        model_name: score.means()
        | {name: frechet_distance(score.moments[name], originals[name]) for name in networks}
        for model_name, score in scores.items()
    }


def gap_to_teacher(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Student minus teacher for each score, and how much of pruning's loss training won back.

    `<score>_recovered` is (student - pruned) / (teacher - pruned): 0 as pruned, 1 as the teacher.
    """
    teacher, pruned, student = scores["teacher"], scores["pruned"], scores["student"]
    gap = {name: student[name] - teacher[name] for name in teacher}
    for name in ("psnr_db", "lpips"):
        lost = teacher[name] - pruned[name]
        if lost:
            gap[f"{name}_recovered"] = (student[name] - pruned[name]) / lost
    return gap


def frechet_networks(lite0: Path, *, fid: bool, device: torch.device) -> FrechetNetworks:
    """`fd_lite0` always, `fid` where asked for.

    Raises:
        UserError: if weights are missing.
    """
    networks: dict[str, tuple[nn.Module, int]] = {}
    if fid:
        networks["fid"] = (load_fid_inception().to(device), 2048)
    networks["fd_lite0"] = (load_lite0(lite0).to(device), FEATURES)
    return networks
