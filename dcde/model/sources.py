"""Find models: bundled with the package, on a model hub, or in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from dcde.base.errors import UserError
from dcde.base.files import file_stamp
from dcde.base.work import left_behind
from dcde.model import DCAE, DCAEConfig
from dcde.model.checkpoint import RECORD, read_config, read_model
from dcde.model.hub import HUB_FORM, download, parse_place
from dcde.model.weights import weights_file
from dcde.model.zoo import published_config

ASSETS = Path(__file__).parents[1] / "assets"


def find_model(source: str, field: str) -> Path:
    """Return a model's folder, downloaded if need be, or its weights file if the source names that.

    Args:
        source: `bundled:<name>`, `hf:<owner>/<name>[@<revision>][/<folder>]`, a folder or a
            .safetensors file in one.
        field: the parameter or option that holds it, for errors.

    Raises:
        UserError: if it can't be found, with what to do.
    """
    kind, _, name = source.partition(":")
    if kind == "bundled" and name:
        folder = ASSETS / name
        if not folder.is_dir():
            bundled = ", ".join(sorted(p.name for p in ASSETS.iterdir() if p.is_dir()))
            raise UserError(f"{field}: found {source!r}, expected bundled:<name> with {bundled}")
        return folder
    if kind == "hf" and name:
        return download(name, field)
    folder = Path(source).expanduser()
    if not folder.exists():
        raise UserError(
            f"{field}: found {source!r}, expected bundled:<name>, {HUB_FORM} or an existing folder"
            f"{left_behind(folder)}"
        )
    return folder


def load_model(source: str | Path, field: str = "model") -> DCAE:
    """Read the model that a source names (see `find_model`).

    Raises:
        UserError: if it can't be found or read.
    """
    return read_model(find_model(str(source), field))


def known_config(source: str, field: str) -> DCAEConfig | None:
    """Return the architecture of a model; None if it takes a download to know it."""
    if source.startswith("hf:"):
        parse_place(source.removeprefix("hf:"), field)
        return published_config(source)
    return read_config(weights_file(find_model(source, field)).parent)


def record_source(source: str, field: str, stage: str, folder: Path) -> None:
    """Record, beside the copy of a model from a folder, which file it was read from.

    Args:
        field: the parameter that names the source.
        stage: the stage that read it.
    """
    if not source.startswith(("bundled:", "hf:")):
        weights = weights_file(find_model(source, field)).absolute()
        record = {"field": field, "stage": stage, "file": str(weights), "stamp": _stamp(weights)}
        (folder / RECORD).write_text(json.dumps(record) + "\n")


def check_original(folder: Path) -> None:
    """Reject a copy whose original has changed since, or a link to it leads elsewhere.

    Raises:
        UserError: naming the original, and the stage that reads it again.
    """
    if not (folder / RECORD).is_file():
        return
    record = json.loads((folder / RECORD).read_text())
    weights, stage = Path(record["file"]), record["stage"]
    if weights.is_file() and _stamp(weights) != record["stamp"]:
        raise UserError(
            f"{record['field']}: {weights} has changed since {stage} read it; "
            f"`dvc repro -f {stage}` reads it again"
        )


def _stamp(file: Path) -> list[str | int]:
    """Return where a path leads, and the file's size and time."""
    return [str(file.resolve()), *file_stamp(file)]


def read_made(folder: Path) -> DCAE:
    """Read a model that a stage of the pipeline made."""
    check_original(folder)
    return read_model(folder)
