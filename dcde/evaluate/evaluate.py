"""Score models on many pictures: in shards, over processes, resumable, in bounded memory.

A shard of pictures is measured by one process, whatever their number, and saved; the shards are
then summed in their order. So the result depends neither on the number of processes nor on
interruptions, and the only thing that grows with the pictures is one float per score.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcde.base.devices import best_device
from dcde.base.errors import UserError
from dcde.base.files import whole_file
from dcde.base.processes import process_state
from dcde.base.work import run_key, work_dir
from dcde.data.crops import Crop, CropDataset
from dcde.evaluate.measure import IMAGE_SCORES, ORIGINAL, Measure, Rows, without_reference
from dcde.metrics.frechet import FrechetNetwork, Moments, Statistics, frechet_distance
from dcde.metrics.inception import INCEPTION_FEATURES
from dcde.model import DCAE

SHARD_IMAGES, BATCH_SIZE = 512, 8


@dataclass(frozen=True)
class Evaluation:
    """The scores of all models."""

    scores: dict[str, dict[str, float]]
    """Model to psnr_db, ssim, lpips (means over the pictures) and one distance for each network."""
    values: dict[str, dict[str, np.ndarray]]
    """Model to psnr_db, ssim and lpips of each picture, in the order of the crops."""


def image_rows(evaluation: Evaluation, crops: Sequence[Crop]) -> list[dict[str, Any]]:
    """Return a row for each crop: its name as `crop`, and each model's scores."""
    columns = {
        f"{model}.{score}": values
        for model, scores in evaluation.values.items()
        for score, values in scores.items()
    }
    return [
        {"crop": crop.name} | {key: float(values[i]) for key, values in columns.items()}
        for i, crop in enumerate(crops)
    ]


def gap_to_teacher(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return student minus teacher for each score, and how much of pruning's loss was recovered.

    `<score>_recovered` is (student - pruned) / (teacher - pruned): 0 as pruned, 1 as the teacher.
    """
    teacher, pruned, student = scores["teacher"], scores["pruned"], scores["student"]
    gap = {name: student[name] - teacher[name] for name in teacher}
    for name in ("psnr_db", "lpips"):
        if lost := teacher[name] - pruned[name]:
            gap[f"{name}_recovered"] = (student[name] - pruned[name]) / lost
    return gap


@torch.no_grad()
def evaluate(
    models: Mapping[str, DCAE],
    crops: Sequence[Crop],
    *,
    lpips_metric: nn.Module,
    networks: Sequence[FrechetNetwork],
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    device: torch.device | None = None,
    state_dir: Path,
    cache_dir: Path | None = None,
) -> Evaluation | None:
    """Measure each model on the same crops; return None on all processes but the main one.

    Args:
        workers: processes that load images.
        device: the best there is if None.
        state_dir: of this run alone; shards found in it are not measured again.
        cache_dir: keeps the originals' statistics for runs with other models; in the work folder
            if None.
    """
    process, device = process_state(), device or best_device()
    kept = _reference_files(networks, crops, cache_dir or work_dir() / "references")
    networks = [_with_reference(n, kept[n.name], crops[0].size) for n in networks]
    firsts = range(0, len(crops), SHARD_IMAGES)
    shards = [range(first, min(first + SHARD_IMAGES, len(crops))) for first in firsts]
    files = [state_dir / f"shard_{i:05d}.safetensors" for i in range(len(shards))]
    missing = [i for i, file in enumerate(files) if not _is_whole(file, networks)]
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
    cores = max(1, (os.cpu_count() or 1) // process.num_processes)
    measure = Measure(models, lpips_metric, networks, device)
    total, quiet = sum(map(len, batches)), not process.is_main_process
    with (
        ThreadPoolExecutor(cores) as pool,
        tqdm(total=total, desc="evaluate", unit="image", disable=quiet) as bar,
    ):
        for i in mine:
            rows: list[Rows] = []
            waiting: deque[Callable[[], Rows]] = deque()
            for _ in range(0, len(shards[i]), batch_size):
                pixels = next(loaded)["pixels"]
                waiting.append(measure(pixels, pool))
                if len(waiting) > 1:  # the device has the next batch while the cores score this one
                    rows.append(waiting.popleft()())
                bar.update(len(pixels))
            rows += [finish() for finish in waiting]
            with whole_file(files[i]) as partial:
                save_file({k: np.concatenate([r[k] for r in rows]) for k in rows[0]}, partial)
    process.wait_for_everyone()
    if not process.is_main_process:
        return None
    values, statistics = _sum_shards(files, list(models), networks)
    scores = {
        model: {score: float(column.mean()) for score, column in columns.items()}
        for model, columns in values.items()
    }
    for network in networks:
        reference = network.reference
        if reference is None:
            reference = statistics[f"{ORIGINAL}/{network.name}"]
            reference.save(kept[network.name], resolution=crops[0].size)
        for model in models:
            ours = statistics[f"{model}/{network.name}"]
            scores[model][network.name] = frechet_distance(ours, reference)
    return Evaluation(scores, values)


def _is_whole(shard: Path, networks: Sequence[FrechetNetwork]) -> bool:
    """Return whether a shard is there, with the originals' features if they are needed.

    A stopped run may have left them out, because their statistics were known then.
    """
    if not shard.is_file():
        return False
    with safe_open(shard, "np") as file:
        needed = {f"{ORIGINAL}/{network.name}" for network in without_reference(networks)}
        return needed <= set(file.keys())


def _sum_shards(
    files: Sequence[Path], models: Sequence[str], networks: Sequence[FrechetNetwork]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Statistics]]:
    """Return each picture's scores by model, and statistics by `<model or original>/<network>`."""
    parts: dict[str, dict[str, list[np.ndarray]]] = {
        model: {score: [] for score in IMAGE_SCORES} for model in models
    }
    moments: dict[str, Moments] = {}
    sizes = {network.name: network.features for network in networks}
    for file in files:
        for key, rows in load_file(file).items():
            model, _, name = key.rpartition("/")
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
    """Return where the originals' statistics are kept, for each network and set of pictures.

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


def _with_reference(network: FrechetNetwork, kept: Path, resolution: int) -> FrechetNetwork:
    """Add the originals' statistics of an earlier run, if there are any and none were given."""
    if network.reference or not kept.is_file():
        return network
    known = Statistics.load(kept, features=network.features, resolution=resolution)
    return replace(network, reference=known)


def _warn_of_few(networks: Sequence[FrechetNetwork], pictures: int) -> None:
    if pictures < INCEPTION_FEATURES and any(n.name == "fid" for n in networks):
        tqdm.write(
            f"warning: fid of {pictures} images, fewer than its {INCEPTION_FEATURES} features: "
            "biased, compare it only at the same images"
        )
