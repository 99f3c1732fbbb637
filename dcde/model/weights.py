"""Names of a model's files, and of the tensors in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dcde.base.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"


def weights_file(path: Path) -> Path:
    """Return the weights that a path names: a file itself, or the one in a model's folder."""
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
    others = sorted(path.glob("*.safetensors"))  # a variant, such as fp16
    if len(others) == 1:
        return others[0]
    found = ", ".join(file.name for file in others) or "no weights"
    raise UserError(
        f"{path}: found {found}, expected {WEIGHTS} or {DIFFUSERS_WEIGHTS}, or the name of one file"
    )


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name tensors as before `torch.compile`, which wraps a module in one with it inside."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
