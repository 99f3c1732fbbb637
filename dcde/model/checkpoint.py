"""Read and write models: safetensors beside a config.json, in our layout or a published one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dcde.base.errors import UserError
from dcde.base.files import whole_folder
from dcde.base.tensors import read_tensors
from dcde.model import DCAE, DCAEConfig, zoo_config
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_format import (
    CLASS,
    NARROW_CLASS,
    NARROW_MODULE,
    NotExpressibleError,
    config_from_diffusers,
    config_to_diffusers,
    from_diffusers,
    to_diffusers,
)
from dcde.model.hub import model_name
from dcde.model.weights import CONFIG, DIFFUSERS_WEIGHTS, WEIGHTS, plain_names, weights_file
from dcde.params.file import first_fault

Layout = Literal["safetensors", "diffusers"]
"""Conventions for names of tensors and config.json; the first is ours."""
RECORD = "source.json"
"""A copied model has this file: it says where the original is."""
MODEL_FILES = {CONFIG, WEIGHTS, DIFFUSERS_WEIGHTS, f"{NARROW_MODULE}.py", RECORD}
"""All that a model's folder has."""


def save_model(model: DCAE, folder: Path | str, layout: Layout = "safetensors") -> None:
    """Write weights and `config.json`; the folder appears whole or not at all.

    A model that is there already is replaced.

    Raises:
        UserError: if the disk is full, the folder can't be written, or anything but a model is in
            its place.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: found a file, expected a new folder")
    if folder.is_dir() and (others := sorted({p.name for p in folder.iterdir()} - MODEL_FILES)):
        raise UserError(f"{folder}: found {others[0]} in it, expected a new folder or a model's")
    try:
        with whole_folder(folder) as partial:
            write_model(model, partial, layout)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: can't be written ({error}); nothing was changed") from None


def write_model(model: DCAE, folder: Path, layout: Layout) -> None:
    """Write weights and configuration into an existing folder."""
    config, state = model.config, plain_names(model.state_dict())
    raw: dict[str, Any] = {"dcde": config.model_dump(mode="json")}
    name = WEIGHTS
    if layout == "diffusers":
        raw = config_to_diffusers(config)
        state, name = to_diffusers(state, config), DIFFUSERS_WEIGHTS
        if raw["_class_name"] == NARROW_CLASS:
            module = f"{NARROW_MODULE}.py"
            shutil.copyfile(Path(__file__).with_name(module), folder / module)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / name)
    (folder / CONFIG).write_text(json.dumps(raw, indent=2) + "\n")


def read_model(path: Path | str) -> DCAE:
    """Read a model in fp32 and eval mode, from its folder or a file of weights in one.

    config.json tells the layout: ours, efficientvit's (only a `model_name`) or diffusers'.

    Raises:
        UserError: for a missing or damaged file or an unknown model, and see `check_state`.
    """
    weights = weights_file(Path(path))
    raw = _raw_config(weights.parent)
    config = _model_config(raw, weights.parent)
    state = plain_names(read_tensors(weights))
    model = build_on_meta(config)
    expected = model.state_dict()
    if "_class_name" in raw:
        shapes = {name: tensor.shape for name, tensor in expected.items()}
        state = from_diffusers(state, shapes, config)
    check_state(state, expected, weights)
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: Path) -> None:
    """Reject weights that don't fit the model exactly.

    Args:
        expected: the model's own tensors; their values don't matter.

    Raises:
        UserError: naming the first tensor that is missing, surplus, not finite, or of the wrong
            shape or type.
    """
    for name, ours in expected.items():
        if name not in state:
            raise UserError(f"{source}: tensor {name} is missing")
        tensor = state[name]
        if tensor.shape != ours.shape:
            raise UserError(
                f"{source}: tensor {name} has shape {list(tensor.shape)}, "
                f"expected {list(ours.shape)}"
            )
        if tensor.is_floating_point() != ours.is_floating_point():
            kind = "floating-point numbers" if ours.is_floating_point() else "whole numbers"
            raise UserError(f"{source}: tensor {name} is {tensor.dtype}, expected {kind}")
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise UserError(f"{source}: tensor {name} has values that are not finite")
    for name in state:
        if name not in expected:
            raise UserError(f"{source}: tensor {name} is not part of the model")


def read_config(folder: Path) -> DCAEConfig:
    """Read the architecture from a folder's config.json, in any of the three layouts."""
    return _model_config(_raw_config(folder), folder)


def _raw_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: not found, expected the model's configuration") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: found a {type(raw).__name__}, expected a JSON object")
    return raw


def _model_config(raw: dict[str, Any], folder: Path) -> DCAEConfig:
    source = folder / CONFIG
    try:
        if "dcde" in raw:
            return DCAEConfig.model_validate(raw["dcde"])
        if raw.get("_class_name") in (CLASS, NARROW_CLASS):
            return config_from_diffusers(raw, name=model_name(folder))
        if "model_name" in raw:
            return zoo_config(raw["model_name"])
    except ValidationError as error:
        raise UserError(f"{source}: {first_fault(error, DCAEConfig)}") from None
    except NotExpressibleError as error:
        raise UserError(f"{source}: {error}") from None
    except KeyError as unknown:
        raise UserError(f"{source}: {unknown.args[0]}") from None
    raise UserError(
        f"{source}: unknown layout, expected one of the keys dcde, model_name (efficientvit) "
        f"or _class_name {CLASS} or {NARROW_CLASS} (diffusers)"
    )
