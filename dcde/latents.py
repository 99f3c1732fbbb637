"""Training crops and their latents, computed once and memory-mapped.

The encoder is frozen and shared by teacher and student, so a crop's latent never changes: each
distinct crop that a run will draw is decoded and encoded once, and later runs with the same
teacher and crops (another loss weight, say) find them ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dcde.data import Crop, CropDataset, to_model_range
from dcde.files import whole_folder
from dcde.model import DCAE


def cache_latents(
    model: DCAE, crops: Sequence[Crop], folder: Path, *, batch_size: int, workers: int
) -> None:
    """Write `pixels.npy` (uint8) and `latents.npy` (fp32), one row a crop, unless they are there.

    The folder appears whole or not at all; its name must tell teacher and crops apart.
    """
    if folder.is_dir():
        return
    device = next(model.parameters()).device
    size, f = crops[0].size, model.config.downsampling
    latent_shape = (len(crops), model.config.latent_channels, size // f, size // f)
    with whole_folder(folder) as partial, torch.inference_mode():
        pixels = np.lib.format.open_memmap(
            partial / "pixels.npy", "w+", np.uint8, (len(crops), 3, size, size)
        )
        latents = np.lib.format.open_memmap(partial / "latents.npy", "w+", np.float32, latent_shape)
        row = 0
        loader = DataLoader(CropDataset(crops, draft=True), batch_size, num_workers=workers)
        for batch in tqdm(loader, desc="cache latents", unit="batch"):
            rows = slice(row, row := row + len(batch["pixels"]))
            pixels[rows] = batch["pixels"].numpy()
            image = to_model_range(batch["pixels"].to(device))
            latents[rows] = model.encode(image).float().cpu().numpy()
        pixels.flush()
        latents.flush()


class LatentDataset(Dataset[dict[str, Tensor]]):
    """Cached crops by row: {"pixels": (3, s, s) uint8, "latent": (C, s / f, s / f)}."""

    def __init__(self, folder: Path, rows: Sequence[int]) -> None:
        self.pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        self.latents = np.load(folder / "latents.npy", mmap_mode="r")
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.rows[index]
        return {
            "pixels": torch.from_numpy(self.pixels[row].copy()),
            "latent": torch.from_numpy(self.latents[row].copy()),
        }
