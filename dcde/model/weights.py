"""A model's weights on disk: one safetensors file, or several with an index."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dcde.base.errors import UserError
from dcde.base.tensors import read_tensors

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = ".index.json"
"""End of an index's name; an index says which of several files holds each tensor."""
NAMES = tuple(f"{name}{end}" for end in ("", INDEX) for name in (WEIGHTS, DIFFUSERS_WEIGHTS))
STEMS = tuple(name.removesuffix(".safetensors") for name in (WEIGHTS, DIFFUSERS_WEIGHTS))
_VARIANT = rf"({'|'.join(STEMS)})\.(\w+\.safetensors|safetensors\.index\.\w+\.json)"
"""A variant, as diffusers calls it, has its name, such as fp16, before the last dot."""
_INDEX = r".*\.safetensors\.index(\.\w+)?\.json"


def weights_file(path: Path) -> Path:
    """Return the weights that a path names: a file or index itself, or the one in a model folder.

    Raises:
        UserError: if there are none, or only several variants.
    """
    if path.is_file() and (path.suffix == ".safetensors" or re.fullmatch(_INDEX, path.name)):
        return path
    if not path.is_dir():
        found = "is no such file" if path.exists() else "not found"
        raise UserError(
            f"{path}: {found}, expected a folder with {CONFIG} and weights, or a file of weights "
            "(.safetensors) in one"
        )
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    variants = sorted(file for file in path.iterdir() if re.fullmatch(_VARIANT, file.name))
    if len(variants) == 1:
        return variants[0]
    names = ", ".join(file.name for file in variants)
    if names:
        raise UserError(f"{path}: found several weights, {names}: expected the name of one file")
    raise UserError(f"{path}: found no weights, expected {WEIGHTS} or {DIFFUSERS_WEIGHTS}")


def load_weights(weights: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, or of all files that an index names.

    Raises:
        UserError: for a file that is missing or damaged.
    """
    names = _indexed(weights) if weights.suffix == ".json" else [weights.name]
    state: dict[str, Tensor] = {}
    for file in map(weights.with_name, names):
        if not file.is_file():
            raise UserError(f"{file}: not found, but {weights.name} names it")
        state |= read_tensors(file)
    return plain_names(state)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name tensors as before `torch.compile`, which wraps a module in one with it inside."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}


def _indexed(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("names of files in the same folder are expected")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{index}: expected {{'weight_map': {{tensor: file, ...}}}} ({error})"
        ) from None
    return names
