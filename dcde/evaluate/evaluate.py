"""Scores of models on many pictures: in shards, over processes, resumable, in bounded memory.

A shard of pictures is measured by one process, whatever their number, and saved; the shards are
then summed in their order. So the result depends neither on how many processes there were nor on
whether the run was stopped, and what grows with the count of pictures is one float a score.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcde.base.devices import channels_last
from dcde.base.errors import UserError
from dcde.base.files import whole_file
from dcde.base.processes import process_state
from dcde.base.work import run_key
from dcde.data.crops import Crop, CropDataset
from dcde.data.pixels import to_model_range, to_uint8
from dcde.evaluate.shares import TimeShares
from dcde.metrics.frechet import FrechetNetwork, Moments, Statistics, frechet_distance
from dcde.metrics.inception import INCEPTION_FEATURES
from dcde.metrics.pictures import psnr_db, ssim
from dcde.model import DCAE
from dcde.model.shared_encoders import SharedEncoders

SHARD_IMAGES, BATCH_SIZE = 512, 8
IMAGE_SCORES = ("psnr_db", "ssim", "lpips")
"""What is measured of each picture and averaged."""
ORIGINAL = "original"
"""Where a shard holds the features of the pictures themselves."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    scores: dict[str, dict[str, float]]
    """Model to psnr_db, ssim, lpips (means over the pictures) and one distance for each network."""
    values: dict[str, dict[str, np.ndarray]]
    """Model to psnr_db, ssim and lpips of each picture, in the order of the crops."""
    seconds: dict[str, float]
    """Part of the work to what it took here; shards that were there already took nothing."""


def image_rows(evaluation: Evaluation, crops: Sequence[Crop]) -> list[dict[str, Any]]:
    """A row for each crop: its `crop` (name and place) and `<model>.<score>` of each."""
    columns = {
        f"{model}.{score}": values
        for model, scores in evaluation.values.items()
        for score, values in scores.items()
    }
    return [
        {"crop": crop.name} | {key: float(values[i]) for key, values in columns.items()}
        for i, crop in enumerate(crops)
    ]


@torch.no_grad()
def evaluate(
    models: Mapping[str, DCAE],
    crops: Sequence[Crop],
    *,
    lpips_metric: nn.Module,
    networks: Sequence[FrechetNetwork],
    batch_size: int = BATCH_SIZE,
    workers: int,
    device: torch.device,
    state_dir: Path,
    cache_dir: Path,
) -> Evaluation | None:
    """Measure each model on the same crops; None on all processes but the main one.

    Each crop is encoded once for all models that share an encoder, as pruning leaves it untouched.

    Args:
        state_dir: of this very run; shards found in it are not measured again.
        cache_dir: where the originals' statistics are kept for runs with other models.
    """
    process = process_state()
    kept = _reference_files(networks, crops, cache_dir)
    references = {n.name: _known_reference(n, kept[n.name], crops[0].size) for n in networks}
    shares = TimeShares(device)
    measure = _Measure(models, lpips_metric, networks, references, device, shares)
    shards = [
        range(start, min(start + SHARD_IMAGES, len(crops)))
        for start in range(0, len(crops), SHARD_IMAGES)
    ]
    missing = [i for i in range(len(shards)) if not measure.is_whole(_shard_file(state_dir, i))]
    if process.is_main_process:
        _warn_of_few(networks, len(crops))
    process.wait_for_everyone()  # before a process saves a shard that another has yet to look for
    mine = missing[process.process_index :: process.num_processes]
    batches = [
        list(shards[i][start : start + batch_size])
        for i in mine
        for start in range(0, len(shards[i]), batch_size)
    ]
    loader = DataLoader(
        CropDataset(crops),
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    loaded = iter(loader)
    with (
        ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // process.num_processes)) as pool,
        tqdm(
            total=sum(map(len, batches)),
            desc="evaluate",
            unit="image",
            disable=not process.is_main_process,
        ) as bar,
    ):
        for i in mine:
            rows: list[dict[str, np.ndarray]] = []
            waiting: deque[Callable[[], dict[str, np.ndarray]]] = deque()
            for _ in range(0, len(shards[i]), batch_size):
                with shares.part("reading"):
                    pixels = next(loaded)["pixels"]
                waiting.append(measure(pixels, pool))
                if len(waiting) > 1:  # the device has the next batch, while the cores score this
                    rows.append(waiting.popleft()())
                bar.update(len(pixels))
            rows += [finish() for finish in waiting]
            with whole_file(_shard_file(state_dir, i)) as partial:
                save_file({k: np.concatenate([r[k] for r in rows]) for k in rows[0]}, partial)
    if mine and process.is_main_process:
        tqdm.write(f"evaluate: {shares}")
    process.wait_for_everyone()
    if not process.is_main_process:
        return None
    values, statistics = _sum_shards(
        [_shard_file(state_dir, i) for i in range(len(shards))], list(models), networks
    )
    scores = {
        model: {score: float(column.mean()) for score, column in columns.items()}
        for model, columns in values.items()
    }
    for network in networks:
        reference = references[network.name]
        if reference is None:
            reference = statistics[f"{ORIGINAL}/{network.name}"]
            reference.save(kept[network.name], resolution=crops[0].size)
        for model in models:
            ours = statistics[f"{model}/{network.name}"]
            scores[model][network.name] = frechet_distance(ours, reference)
    return Evaluation(scores, values, shares.seconds)


class _Measure:
    """Pictures to what is kept of them: `<model>/<score>` and `<model or original>/<network>`."""

    def __init__(
        self,
        models: Mapping[str, DCAE],
        lpips_metric: nn.Module,
        networks: Sequence[FrechetNetwork],
        references: Mapping[str, Statistics | None],
        device: torch.device,
        shares: TimeShares,
    ) -> None:
        for module in (*models.values(), lpips_metric, *(n.module for n in networks)):
            channels_last(module, device)
        self.models, self.lpips_metric, self.networks = models, lpips_metric, networks
        self.references, self.device, self.shares = references, device, shares
        self.encode = SharedEncoders(models)

    def is_whole(self, shard: Path) -> bool:
        """Whether a shard is there, with the originals' features where these are needed.

        A stopped run may have left them out, because their statistics were known then.
        """
        if not shard.is_file():
            return False
        with safe_open(shard, "np") as file:
            return {f"{ORIGINAL}/{network.name}" for network in self._new()} <= set(file.keys())

    def _new(self) -> list[FrechetNetwork]:
        """The networks for which the originals must be measured too."""
        return [network for network in self.networks if self.references[network.name] is None]

    def __call__(
        self, pixels: Tensor, pool: ThreadPoolExecutor
    ) -> Callable[[], dict[str, np.ndarray]]:
        """(B, 3, H, W) uint8 to a function that waits for what is left, and gives arrays of B rows.

        Args:
            pool: computes PSNR and SSIM, for which scikit-image needs a core, not the device.
        """
        part = self.shares.part
        on_device: dict[str, Tensor] = {}
        on_cores: dict[str, list[Future[float]]] = {}
        originals = _pictures(pixels)
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        image = to_model_range(pixels)
        with part("encoding"):
            latents = self.encode(image)
        for network in self._new():
            with part(network.name):
                on_device[f"{ORIGINAL}/{network.name}"] = network.module(image)
        for name, model in self.models.items():
            with part("decoding"):
                decoded = to_uint8(model.decode(latents[name]))
            pictures, rounded = _pictures(decoded), to_model_range(decoded)
            for score, function in (("psnr_db", psnr_db), ("ssim", ssim)):
                futures = [
                    pool.submit(function, *pair) for pair in zip(pictures, originals, strict=True)
                ]
                on_cores[f"{name}/{score}"] = futures
            with part("lpips"):
                on_device[f"{name}/lpips"] = self.lpips_metric(rounded, image).flatten().double()
            for network in self.networks:
                with part(network.name):
                    on_device[f"{name}/{network.name}"] = network.module(rounded)

        def finish() -> dict[str, np.ndarray]:
            rows = {key: tensor.cpu().numpy() for key, tensor in on_device.items()}
            with part("waiting for psnr and ssim"):
                scored = {key: np.array([f.result() for f in fs]) for key, fs in on_cores.items()}
            return rows | scored

        return finish


def _pictures(pixels: Tensor) -> np.ndarray:
    """(B, 3, H, W) to (B, H, W, 3), as scikit-image takes them."""
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def _sum_shards(
    files: Sequence[Path], models: Sequence[str], networks: Sequence[FrechetNetwork]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Statistics]]:
    """Scores of each picture by model, and statistics by `<model or original>/<network>`."""
    parts: dict[str, dict[str, list[np.ndarray]]] = {
        model: {score: [] for score in IMAGE_SCORES} for model in models
    }
    moments: dict[str, Moments] = {}
    sizes = {network.name: network.features for network in networks}
    for file in files:
        for key, rows in load_file(file).items():
            model, name = key.split("/")
            if name in IMAGE_SCORES:
                parts[model][name].append(rows)
            else:
                moments.setdefault(key, Moments(sizes[name])).update(rows)
    values = {
        model: {score: np.concatenate(arrays) for score, arrays in scores.items()}
        for model, scores in parts.items()
    }
    return values, {key: sums.statistics() for key, sums in moments.items()}


def _reference_files(
    networks: Sequence[FrechetNetwork], crops: Sequence[Crop], cache_dir: Path
) -> dict[str, Path]:
    """Where the originals' statistics are kept: a file for each network and set of pictures.

    Raises:
        UserError: if a picture's file is gone.
    """
    try:
        pictures = run_key(list(crops), sorted({Path(crop.path) for crop in crops}))
    except OSError as error:
        raise UserError(f"{error.filename}: can't be read any more ({error.strerror})") from None
    return {
        n.name: cache_dir / f"{n.name}_{n.weights_sha256[:16]}_{pictures}.npz" for n in networks
    }


def _known_reference(network: FrechetNetwork, kept: Path, resolution: int) -> Statistics | None:
    """The originals' statistics, given or kept from an earlier run."""
    if network.reference or not kept.is_file():
        return network.reference
    return Statistics.load(kept, features=network.features, resolution=resolution)


def _warn_of_few(networks: Sequence[FrechetNetwork], pictures: int) -> None:
    if pictures < INCEPTION_FEATURES and any(n.name == "fid" for n in networks):
        tqdm.write(
            f"warning: fid of {pictures} images, fewer than its {INCEPTION_FEATURES} features: "
            "biased, compare it only at the same images"
        )


def _shard_file(state_dir: Path, index: int) -> Path:
    return state_dir / f"shard_{index:05d}.safetensors"
