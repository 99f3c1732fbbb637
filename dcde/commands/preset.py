"""Named settings: presets/<name>.yaml, as overrides of params.yaml that `dvc exp run` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from dcde.base.errors import UserError, one_line_errors
from dcde.base.paths import PRESETS
from dcde.model import DCAEConfig, zoo_config, zoo_names
from dcde.model.costs import saved_percent, static_costs
from dcde.prune.depth import student_config
from dcde.prune.widths import narrow_config

SHARED = "extends"
"""Key that names another preset whose settings come first."""


def read_preset(folder: Path, name: str) -> dict[str, Any]:
    """A preset's settings, nested as in params.yaml, with those it extends merged in.

    Raises:
        UserError: for an unknown name, listing those there are.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(preset_names(folder)) or "none: run it in the repository's root"
        raise UserError(f"preset {name!r} is unknown, expected one of: {known}")
    settings: dict[str, Any] = yaml.safe_load(path.read_text())
    base = settings.pop(SHARED, None)
    return settings if base is None else merge(read_preset(folder, base), settings)


def preset_names(folder: Path) -> list[str]:
    """All presets that name a student, sorted."""
    return sorted(
        path.stem
        for path in folder.glob("*.yaml")
        if "depth_list" in yaml.safe_load(path.read_text()).get("prune", {})
    )


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put in, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if nested else value  # type: ignore[arg-type]
    return merged


def overrides(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`section.key=value` for each leaf, values as YAML without spaces."""
    found: list[str] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += overrides(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            found.append(f"{name}={text}")
    return found


@dataclass(frozen=True)
class PresetRow:
    """What a preset's student costs, computed from its architecture."""

    name: str
    depth_list: tuple[int, ...]
    resolution: int
    decoder_gmacs: float
    total_gmacs: float
    decoder_mparams: float
    decoder_macs_saved_percent: float
    total_macs_saved_percent: float


def preset_row(folder: Path, name: str) -> PresetRow:
    """Count the student of a preset, whose teacher must be in the zoo by name."""
    settings = read_preset(folder, name)
    teacher = _zoo_teacher(settings["teacher"]["source"])
    prune = settings["prune"]
    depth_list = tuple(prune["depth_list"])
    resolution = settings["data"]["eval_size"]
    full = static_costs(teacher, resolution)
    student = narrow_config(
        student_config(teacher, depth_list), prune["width_list"], prune["inner_ratio"]
    )
    costs = static_costs(student, resolution)
    return PresetRow(
        name=name,
        depth_list=depth_list,
        resolution=resolution,
        decoder_gmacs=costs["decoder_macs"] / 1e9,
        total_gmacs=costs["total_macs"] / 1e9,
        decoder_mparams=costs["decoder_params"] / 1e6,
        **saved_percent(costs, full),
    )


def _zoo_teacher(source: str) -> DCAEConfig:
    name = source.partition(":")[2].partition("@")[0].rpartition("/")[2]
    if name not in zoo_names():
        raise UserError(f"teacher.source: found {source!r}, expected a model of the zoo")
    return zoo_config(name)


def preset(
    name: Annotated[str | None, typer.Argument(help="A name of presets/.")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show all presets and what their students cost.")
    ] = False,
) -> None:
    """Print a preset as overrides, for `dvc exp run $(dcde preset NAME)`."""
    with one_line_errors():
        if show_list or name is None:
            typer.echo(_table())
        else:
            typer.echo(" ".join(f"-S {pair}" for pair in overrides(read_preset(PRESETS, name))))


def _table() -> str:
    """All presets; GMACs are of one image at the preset's resolution."""
    names = preset_names(PRESETS)
    column = max(map(len, names), default=0)
    lines = [
        f"{'name':{column}} {'decoder depths':22} {'px':>4} {'decoder GMACs':>20} "
        f"{'total GMACs':>20} {'decoder params':>15}"
    ]
    for name in names:
        row = preset_row(PRESETS, name)
        decoder = f"{row.decoder_gmacs:.1f} (-{row.decoder_macs_saved_percent:.1f}%)"
        total = f"{row.total_gmacs:.1f} (-{row.total_macs_saved_percent:.1f}%)"
        lines.append(
            f"{row.name:{column}} {row.depth_list!s:22} {row.resolution:4} {decoder:>20} "
            f"{total:>20} {row.decoder_mparams:13.2f} M"
        )
    return "\n".join(lines)
