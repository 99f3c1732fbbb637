"""Training crops and their latents, computed once and memory-mapped.

Teacher and student share a frozen encoder, so a crop's latent never changes. Each distinct crop of
a run is encoded once, and later runs with the same teacher and crops reuse the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dcde.base.files import whole_folder
from dcde.base.processes import process_state
from dcde.base.work import check_disk, locked, run_key
from dcde.data.crops import Crop, CropDataset, load_crop
from dcde.data.pixels import to_model_range
from dcde.model import DCAE, DCAEConfig

LATENTS, PIXELS = "latents.npy", "pixels.npy"


def cached_crops(
    model: DCAE,
    crops: Sequence[Crop],
    *,
    keep_pixels: bool,
    batch_size: int,
    workers: int,
    cache_dir: Path,
) -> Callable[[Sequence[Crop]], LatentDataset]:
    """Cache the latents of these crops; return a function from some of them to their dataset.

    Args:
        keep_pixels: cache pixels too; otherwise they are read from the photo each time.
    """
    files = [Path(path) for path in sorted({crop.path for crop in crops})]
    folder = cache_dir / run_key([encoder_sha256(model), keep_pixels, *crops], files)
    with process_state().main_process_first():
        cache_latents(
            model, crops, folder, keep_pixels=keep_pixels, batch_size=batch_size, workers=workers
        )
    row_of = {crop: row for row, crop in enumerate(crops)}
    return lambda chosen: LatentDataset(folder, [row_of[crop] for crop in chosen], chosen)


def encoder_sha256(model: DCAE) -> str:
    """Return a checksum of the encoder's weights, on which alone latents depend.

    Models with the same encoder share a cache.
    """
    digest = hashlib.sha256()
    for name, tensor in model.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def crop_bytes(model: DCAEConfig, size: int, *, keep_pixels: bool) -> int:
    """Return the bytes that a crop of `size` x `size` pixels takes in the cache."""
    latent = 4 * model.latent_channels * (size // model.downsampling) ** 2
    return latent + (3 * size**2 if keep_pixels else 0)


def cache_latents(
    model: DCAE,
    crops: Sequence[Crop],
    folder: Path,
    *,
    keep_pixels: bool,
    batch_size: int,
    workers: int,
) -> None:
    """Write `latents.npy` (fp32) and, if kept, `pixels.npy` (uint8), one row per crop.

    The folder appears whole or not at all. Its name identifies its content, so an existing folder
    is used as is.

    Raises:
        UserError: before any work, if the disk has no room for it.
    """
    with locked(folder):  # other runs, of a queue of experiments say, may want the same crops
        if folder.is_dir():
            return
        device = next(model.parameters()).device
        size, f = crops[0].size, model.config.downsampling
        latent_shape = (len(crops), model.config.latent_channels, size // f, size // f)
        needed = len(crops) * crop_bytes(model.config, size, keep_pixels=keep_pixels)
        tqdm.write(check_disk(folder.parent, needed, f"the cache of {len(crops)} crops' latents"))
        with whole_folder(folder) as partial, torch.inference_mode():
            latents = open_memmap(partial / LATENTS, "w+", np.float32, latent_shape)
            pixels = None
            if keep_pixels:
                pixels = open_memmap(partial / PIXELS, "w+", np.uint8, (len(crops), 3, size, size))
            row = 0
            loader = DataLoader(
                CropDataset(crops, draft=True),
                batch_size,
                num_workers=workers,
                pin_memory=device.type == "cuda",
            )
            for batch in tqdm(loader, desc="cache latents", unit="batch"):
                rows = slice(row, row := row + len(batch["pixels"]))
                if pixels is not None:
                    pixels[rows] = batch["pixels"].numpy()
                image = to_model_range(batch["pixels"].to(device))
                latents[rows] = model.encode(image).float().cpu().numpy()
            latents.flush()
            if pixels is not None:
                pixels.flush()


class LatentDataset(Dataset[dict[str, Tensor]]):
    """Cached crops by row: {"pixels": (3, s, s) uint8, "latent": (C, s / f, s / f)}.

    Args:
        crops: the crops of the rows, to read pixels that are not cached.
    """

    def __init__(self, folder: Path, rows: Sequence[int], crops: Sequence[Crop]) -> None:
        self.latents = np.load(folder / LATENTS, mmap_mode="r")
        kept = (folder / PIXELS).is_file()
        self.pixels = np.load(folder / PIXELS, mmap_mode="r") if kept else None
        self.rows, self.crops = rows, crops

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.rows[index]
        if self.pixels is None:
            pixels = load_crop(self.crops[index], draft=True)
        else:
            pixels = torch.from_numpy(self.pixels[row].copy())
        return {"pixels": pixels, "latent": torch.from_numpy(self.latents[row].copy())}
