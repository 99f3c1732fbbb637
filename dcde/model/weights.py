"""Find and read a model's weights on disk."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dcde.base.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"


def weights_file(path: Path) -> Path:
    """Return the weights that a path names: a file itself, or the one in a model folder.

    Raises:
        UserError: if there are none.
    """
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if not path.is_dir():
        found = "is no such file" if path.exists() else "not found"
        raise UserError(
            f"{path}: {found}, expected a folder with {CONFIG} and weights, or a file of weights "
            "(.safetensors) in one"
        )
    for name in (WEIGHTS, DIFFUSERS_WEIGHTS):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path}: found no weights, expected {WEIGHTS} or {DIFFUSERS_WEIGHTS}")


def load_weights(weights: Path) -> dict[str, Tensor]:
    """Read the tensors of a file.

    Raises:
        UserError: if it is damaged.
    """
    try:
        return dict(load_file(weights))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights}: not a whole safetensors file ({error})") from None
