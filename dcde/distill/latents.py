"""Training crops and their latents, computed once and memory-mapped.

The encoder is frozen and shared by teacher and student, so a crop's latent never changes: each
distinct crop that a run will draw is decoded and encoded once, and later runs with the same
teacher and crops (another loss weight, say) find them ready.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dcde.base.files import whole_folder
from dcde.base.processes import process_state
from dcde.base.work import check_disk, locked, run_key
from dcde.data.crops import Crop, CropDataset
from dcde.data.pixels import to_model_range
from dcde.model import DCAE


def cached_crops(
    model: DCAE, crops: Sequence[Crop], *, batch_size: int, workers: int, cache_dir: Path
) -> Callable[[Sequence[Crop]], LatentDataset]:
    """Cache the latents of these crops; return what makes a dataset of some of them."""
    files = [Path(path) for path in sorted({crop.path for crop in crops})]
    folder = cache_dir / run_key([encoder_sha256(model), *crops], files)
    with process_state().main_process_first():
        cache_latents(model, crops, folder, batch_size=batch_size, workers=workers)
    row_of = {crop: row for row, crop in enumerate(crops)}
    return lambda chosen: LatentDataset(folder, [row_of[crop] for crop in chosen])


def encoder_sha256(model: DCAE) -> str:
    """Checksum of the encoder's weights. Latents depend on nothing else of a model, so models with
    the same encoder share a cache."""
    digest = hashlib.sha256()
    for name, tensor in model.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def cache_latents(
    model: DCAE, crops: Sequence[Crop], folder: Path, *, batch_size: int, workers: int
) -> None:
    """Write `pixels.npy` (uint8) and `latents.npy` (fp32), one row a crop, unless they are there.

    The folder appears whole or not at all. Its name is what tells one cache from another: what is
    in a folder of this name is taken as it is.

    Raises:
        UserError: before any work, if the disk has no room for it.
    """
    with locked(folder):  # other runs, of a queue of experiments say, may want the same crops
        if folder.is_dir():
            return
        _write_latents(model, crops, folder, batch_size=batch_size, workers=workers)


def _write_latents(
    model: DCAE, crops: Sequence[Crop], folder: Path, *, batch_size: int, workers: int
) -> None:
    device = next(model.parameters()).device
    size, f = crops[0].size, model.config.downsampling
    pixel_shape = (len(crops), 3, size, size)
    latent_shape = (len(crops), model.config.latent_channels, size // f, size // f)
    needed = math.prod(pixel_shape) + 4 * math.prod(latent_shape)
    tqdm.write(check_disk(folder.parent, needed, f"the cache of {len(crops)} crops' latents"))
    with whole_folder(folder) as partial, torch.inference_mode():
        pixels = np.lib.format.open_memmap(partial / "pixels.npy", "w+", np.uint8, pixel_shape)
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
