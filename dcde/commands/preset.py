"""Named settings: presets/<name>.yaml, as overrides of params.yaml that `dvc exp run` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from dcde.base.autoencoder import AutoencoderParams, is_autoencoder
from dcde.base.errors import UserError, one_line_errors
from dcde.base.overrides import leaves, overrides
from dcde.base.params import Params
from dcde.base.params_file import read_raw, validate
from dcde.base.paths import PARAMS, PRESETS
from dcde.model import DCAEConfig, DecoderConfig
from dcde.model.costs import saved_percent, static_costs
from dcde.model.diffusers_format import CLASS, diffusers_class
from dcde.model.zoo import published_config
from dcde.prune.depth import student_config
from dcde.prune.widths import narrow_config

SHARED, ABOUT = "extends", "about"
"""Keys that are no parameters: another preset, whose settings come first, and what this one is."""
REFUSED = "--see-the-error-of-dcde-preset-above"
"""Printed for a preset that is refused: the shell would go on with `dvc exp run` alone, and DVC
with the default run; an option that it does not know stops it."""
ORIGINAL = "original"
"""What presets extend that keep to the recipe of the first published students."""


def read_preset(folder: Path, name: str) -> dict[str, Any]:
    """A preset's settings, nested as in params.yaml, with those it extends merged in.

    Raises:
        UserError: for an unknown name, listing those there are.
    """
    return _merged(_files(folder, name))


def _merged(files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a preset's files, of which each has its way before those that follow."""
    settings: dict[str, Any] = {}
    for file in files:
        settings = merge(file, settings)
    return {key: value for key, value in settings.items() if key not in (SHARED, ABOUT)}


def _files(folder: Path, name: str) -> list[dict[str, Any]]:
    """What a preset's file says, and those that it extends, in turn."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(preset_names(folder)) or "none: run it in the repository's root"
        raise UserError(f"preset {name!r} is unknown, expected one of: {known}")
    file = _read(path)
    return [file, *(_files(folder, file[SHARED]) if SHARED in file else ())]


def _read(path: Path) -> dict[str, Any]:
    file = read_raw(path)
    if not isinstance(file, dict):
        raise UserError(f"{path}: found {file!r}, expected settings as in params.yaml")
    return file


def preset_names(folder: Path) -> list[str]:
    """All presets that are not only there to be extended, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if ABOUT in _read(path))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put in, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if nested else value  # type: ignore[arg-type]
    return merged


_costs = cache(static_costs)
"""Presets share teachers, and some their student, of which a full-size one takes a while."""


@dataclass(frozen=True)
class PresetRow:
    """What a preset's student is and costs, computed from its architecture."""

    name: str
    teacher: str
    student: DCAEConfig
    cut: str
    """What the student has less of: blocks, channels inside them, or channels between them."""
    decoder_gmacs: float
    decoder_macs_saved_percent: float
    total_macs_saved_percent: float
    recipe: str
    about: str

    def cells(self) -> dict[str, str]:
        """As `preset --list` shows it."""
        return {
            "name": self.name,
            "teacher": self.teacher,
            "blocks": str(list(self.student.decoder.depths)),
            "cut": self.cut,
            "decoder GMACs": f"{self.decoder_gmacs:.1f} (-{self.decoder_macs_saved_percent:.1f}%)",
            "diffusers": "yes" if diffusers_class(self.student) == CLASS else "no",
            "recipe": self.recipe,
            "about": self.about,
        }


def preset_row(folder: Path, name: str) -> PresetRow:
    """Count the student of a preset, whose teacher must be in the zoo by name."""
    files = _files(folder, name)
    settings = _merged(files)
    teacher = _zoo_teacher(settings["teacher"]["source"])
    prune = settings["prune"]
    resolution = settings["data"]["eval_size"]
    student = narrow_config(
        student_config(teacher, tuple(prune["depth_list"])),
        prune["width_list"],
        prune["inner_ratio"],
    )
    costs = _costs(student, resolution)
    return PresetRow(
        name=name,
        teacher=teacher.name,
        student=student,
        cut=_cut(student.decoder, teacher.decoder),
        decoder_gmacs=costs["decoder_macs"] / 1e9,
        recipe="original" if ORIGINAL in (file.get(SHARED) for file in files) else "ours",
        about=files[0].get(ABOUT, ""),
        **saved_percent(costs, _costs(teacher, resolution)),
    )


def _cut(student: DecoderConfig, teacher: DecoderConfig) -> str:
    parts = {
        "blocks": student.depths != teacher.depths,
        "inside": student.inner_widths is not None,
        "stream": student.widths != teacher.widths,
    }
    return ", ".join(part for part, is_cut in parts.items() if is_cut)


def _zoo_teacher(source: str) -> DCAEConfig:
    config = published_config(source)
    if config is None:
        raise UserError(f"teacher.source: found {source!r}, expected a model of the zoo")
    return config


def preset(
    name: Annotated[str | None, typer.Argument(help="A name of presets/.")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show all presets, and what their students cost.")
    ] = False,
) -> None:
    """Print a preset as overrides, for `dvc exp run $(dcde preset NAME)`."""
    with one_line_errors():
        if show_list or name is None:
            typer.echo(_table())
        else:
            try:
                settings = _checked_settings(name)
            except UserError:
                typer.echo(REFUSED)
                raise
            typer.echo(" ".join(f"-S {pair}" for pair in overrides(leaves(settings))))


def _checked_settings(name: str) -> dict[str, Any]:
    """What a preset changes in params.yaml, as it is in this folder."""
    settings = read_preset(PRESETS, name)
    raw = read_raw(PARAMS)
    model = AutoencoderParams if is_autoencoder(raw) else Params
    validate(merge(raw, settings), model, where=f"{PARAMS} with preset {name}")
    return settings


def _table() -> str:
    """All presets, in columns; GMACs are of one image at the preset's resolution."""
    presets = [_cells(name) for name in preset_names(PRESETS)]
    if not presets:
        raise UserError(f"{PRESETS}: found no preset; run it in the repository's root")
    rows = [list(presets[0]), *(list(cells.values()) for cells in presets)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _cells(name: str) -> dict[str, str]:
    """What the list shows of a preset; those of autoencoder/ have no student to count."""
    files = _files(PRESETS, name)
    if not any("prune" in file for file in files):
        return {"name": name, "about": files[0][ABOUT]}
    return preset_row(PRESETS, name).cells()
