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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dcde.base.devices import best_device
from dcde.base.files import whole_file
from dcde.base.processes import process_state
from dcde.data.crops import Crop, CropDataset
from dcde.evaluate.measure import IMAGE_SCORES, ORIGINAL, Measure, Rows
from dcde.metrics.frechet import FrechetNetwork, Moments, Statistics, frechet_distance
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
) -> Evaluation | None:
    """Measure each model on the same crops; return None on all processes but the main one.

    Args:
        workers: processes that load images.
        device: the best there is if None.
        state_dir: of this run alone; shards found in it are not measured again.
    """
    process, device = process_state(), device or best_device()
    firsts = range(0, len(crops), SHARD_IMAGES)
    shards = [range(first, min(first + SHARD_IMAGES, len(crops))) for first in firsts]
    files = [state_dir / f"shard_{i:05d}.safetensors" for i in range(len(shards))]
    missing = [i for i, file in enumerate(files) if not file.is_file()]
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
        reference = network.reference or statistics[f"{ORIGINAL}/{network.name}"]
        for model in models:
            ours = statistics[f"{model}/{network.name}"]
            scores[model][network.name] = frechet_distance(ours, reference)
    return Evaluation(scores, values)


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


def _warn_of_few(networks: Sequence[FrechetNetwork], pictures: int) -> None:
    for network in networks:
        if pictures < network.features:
            tqdm.write(
                f"warning: {network.name} of {pictures} images, fewer than its {network.features} "
                "features: biased, compare it only at the same images"
            )
