"""Presets: named students, presets/<name>.yaml, printed as overrides for `dvc exp run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dcde.base.errors import UserError, one_line_errors
from dcde.base.paths import PARAMS, PRESETS
from dcde.commands.preset_time import timings
from dcde.model import DCAEConfig, DecoderConfig
from dcde.model.costs import decoder_macs
from dcde.model.zoo import published_config
from dcde.params.autoencoder import AutoencoderParams, is_autoencoder
from dcde.params.file import read_raw, validate
from dcde.params.overrides import leaves, overrides
from dcde.params.pipeline import Params
from dcde.params.section import MAX_SIDE
from dcde.prune.shape import student_config

SHARED, ABOUT = "extends", "about"
"""Keys that are no parameters: another preset to start from, and a description."""
REFUSED = "--see-the-error-of-dcde-preset-above"
"""Printed for a preset with an error. Without it, the shell would run `dvc exp run` alone, and so
the default; DVC stops at an option that it does not know."""
KEPT = ("seed", "launcher", "runtime")
"""Parameters that stay as they are in params.yaml unless the preset sets them."""


def read_preset(folder: Path, name: str, extending: Sequence[str] = ()) -> dict[str, Any]:
    """Return a preset's settings, merged into those of the preset that it extends.

    Args:
        extending: presets that extend this one, directly or not.

    Raises:
        UserError: for an unknown name, listing the known ones, and for one that extends itself.
    """
    if name in extending:
        raise UserError(f"preset {name}: {SHARED}: it extends itself ({', '.join(extending)})")
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        known = ", ".join(names) or "none: run it in the repository's root"
        where = f"preset {extending[-1]}: {SHARED}: " if extending else "preset "
        raise UserError(f"{where}{name!r} is unknown, expected one of: {known}")
    settings = _read(folder / f"{name}.yaml")
    settings.pop(ABOUT, None)
    if SHARED not in settings:
        return settings
    return merge(read_preset(folder, settings.pop(SHARED), [*extending, name]), settings)


def _read(path: Path) -> dict[str, Any]:
    settings = read_raw(path)
    if not isinstance(settings, dict):
        raise UserError(f"{path}: found {settings!r}, expected settings as in params.yaml")
    return settings


def preset_names(folder: Path) -> list[str]:
    """Return the names of all presets that have a description, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if ABOUT in _read(path))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` applied, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if nested else value  # type: ignore[arg-type]
    return merged


def preset_params(folder: Path, name: str) -> Params:
    """Return the main pipeline's parameters by a preset: the defaults, with its settings.

    Raises:
        UserError: naming the field that is wrong.
    """
    return validate(read_preset(folder, name), Params, where=f"preset {name}")


def preset_models(folder: Path, name: str) -> tuple[DCAEConfig, DCAEConfig]:
    """Return the architectures of a preset's teacher and student.

    Raises:
        UserError: for a teacher whose architecture is not known by its name, for a student that it
            can't be pruned to, and as `preset_params`.
    """
    params = preset_params(folder, name)
    teacher = published_config(params.teacher.source)
    if teacher is None:
        raise UserError(
            f"preset {name}: teacher.source: found {params.teacher.source!r}, expected a published "
            "DC-AE, such as hf:mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers"
        )
    try:
        return teacher, student_config(teacher, params.prune)
    except UserError as error:
        raise UserError(f"preset {name}: {error}") from None


def preset(
    name: Annotated[str | None, typer.Argument(help="A file in presets/, without .yaml.")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show all presets, and what their students cost.")
    ] = False,
    time: Annotated[
        bool,
        typer.Option("--time", help="Time the decoders on this machine, with random weights."),
    ] = False,
    size: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=MAX_SIDE,
            help="With --time: side of the images in pixels, 512 by default. May be repeated.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        typer.Option(help="With --time: precision of weights and features, fp32 by default."),
    ] = None,
) -> None:
    """Print a preset as overrides, for `dvc exp run $(dcde preset NAME)`."""
    with one_line_errors():
        if time:
            if name is None:
                raise UserError("--time: found without NAME, expected the preset to time")
            models = preset_models(PRESETS, name)
            for line in timings(name, *models, size or [512], precision or "fp32"):
                typer.echo(line)
            return
        try:
            if size or precision:
                raise UserError("--size, --precision: found without --time, expected with it")
            typer.echo(_table() if show_list or name is None else _options(name))
        except UserError:
            typer.echo(REFUSED)
            raise


def _options(name: str) -> str:
    """Return a preset's options for `dvc exp run`.

    The shell splits them at spaces, and DVC's own parser reads escapes and `${` in its own way.
    """
    pairs = overrides(_differences(name))
    for pair in pairs:
        if pair.split() != [pair] or "\\" in pair or "${" in pair:
            raise UserError(
                f"preset {name}: {pair}: found a space, a backslash or ${{ in the value, which "
                f"`$(dcde preset {name})` can't pass on; expected none"
            )
    return " ".join(f"-S {pair}" for pair in pairs)


def _differences(name: str) -> dict[str, Any]:
    """Return what has to change in params.yaml, `section.key` to value, to run the preset."""
    settings, raw = read_preset(PRESETS, name), read_raw(PARAMS)
    if is_autoencoder(raw):
        wanted = merge(raw, settings)
        validate(wanted, AutoencoderParams, where=f"{PARAMS} with preset {name}")
    else:
        raw = validate(raw, Params, where=PARAMS.name).model_dump(mode="json")
        params = preset_params(PRESETS, name)
        if published_config(params.teacher.source):  # then a student that can't be is known here
            preset_models(PRESETS, name)
        preset = params.model_dump(mode="json")
        wanted = {**preset, **{key: raw[key] for key in KEPT if key not in settings}}
    now = leaves(raw)
    return {key: value for key, value in leaves(wanted).items() if now.get(key, ...) != value}


def _table() -> str:
    """Return all presets in columns; GMACs are for one image of the preset's size.

    A preset whose student can't be counted has the reason in its row.
    """
    rows: list[list[str]] = []
    for name in preset_names(PRESETS):
        try:
            rows.append(_cells(name))
        except UserError as error:
            rows.append([name, str(error)])
    if not rows:
        raise UserError(f"{PRESETS}: found no preset; run it in the repository's root")
    count = max(map(len, rows))
    rows = [[row[0], *[""] * (count - len(row)), *row[1:]] for row in rows]
    rows.insert(0, list(COLUMNS) if count == len(COLUMNS) else [COLUMNS[0], COLUMNS[-1]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


COLUMNS = ("name", "teacher", "blocks", "cut", "decoder GMACs", "about")

_macs = cache(decoder_macs)
"""Presets share teachers and students, and counting a full-size one takes a while."""


def _cells(name: str) -> list[str]:
    """Return a preset's row; those of autoencoder/ have no student to count."""
    settings, about = read_preset(PRESETS, name), str(_read(PRESETS / f"{name}.yaml")[ABOUT])
    if is_autoencoder(settings):
        return [name, about]
    teacher, student = preset_models(PRESETS, name)
    size = preset_params(PRESETS, name).data.eval_size
    macs, full = (_macs(config, size) for config in (student, teacher))
    return [
        name,
        teacher.name,
        str(list(student.decoder.depths)),
        _cut(student.decoder, teacher.decoder),
        f"{macs / 1e9:.1f} ({macs / full:.0%}), {size} px",
        about,
    ]


def _cut(student: DecoderConfig, teacher: DecoderConfig) -> str:
    parts = {
        "blocks": student.depths != teacher.depths,
        "inside": student.inner_widths is not None,
        "stream": student.widths != teacher.widths,
    }
    return ", ".join(part for part, is_cut in parts.items() if is_cut)
