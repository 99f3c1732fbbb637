"""Where a model comes from: bundled with the package, a model hub, or a folder."""

from __future__ import annotations

import json
from pathlib import Path

from dcde.base.errors import UserError
from dcde.base.files import file_stamp
from dcde.model import DCAE, DCAEConfig
from dcde.model.checkpoint import read_config, read_model
from dcde.model.hub import HUB_FORM, download
from dcde.model.weights import weights_file, weights_sha256
from dcde.model.zoo import published_config

ASSETS = Path(__file__).parents[1] / "assets"
RECORD = "source.json"
"""In the folder of a model that was read from another folder."""


def find_model(source: str, field: str) -> Path:
    """The folder of a model, downloaded if need be, or its file of weights where that is named.

    Args:
        source: `bundled:<name>`, `hf:<owner>/<name>[@<revision>][/<folder>]`, a folder or a
            .safetensors file in one.
        field: The parameter or option that holds it, for errors.

    Raises:
        UserError: telling what was tried and how to proceed.
    """
    kind, _, name = source.partition(":")
    if kind == "bundled" and name:
        folder = ASSETS / name
        if not folder.is_dir():
            bundled = ", ".join(sorted(p.name for p in ASSETS.iterdir() if p.is_dir()))
            raise UserError(f"{field}: found {source!r}, but bundled are only: {bundled}")
        return folder
    if kind == "hf" and name:
        return download(name, field)
    folder = Path(source).expanduser()
    if not folder.exists():
        raise UserError(
            f"{field}: found {source!r}, expected bundled:<name>, {HUB_FORM} or an existing folder"
        )
    return folder


def load_model(source: str, field: str = "model") -> DCAE:
    """The model that a source names (see `find_model`).

    Raises:
        UserError: if it can't be had or can't be read.
    """
    return read_model(find_model(source, field))


def known_config(source: str, field: str) -> DCAEConfig | None:
    """The architecture of a model, as far as it is known without a download.

    Raises:
        UserError: if there is no such model.
    """
    if source.startswith("hf:"):
        return published_config(source)
    return read_config(weights_file(find_model(source, field)).parent)


def record_source(source: str, field: str, stage: str, folder: Path) -> None:
    """Beside the copy of a model that was read from a folder, write down which file that was.

    Args:
        field: the parameter that names the source.
        stage: which stage read it.
    """
    if not source.startswith(("bundled:", "hf:")):
        weights = weights_file(find_model(source, field)).resolve()
        record = {"field": field, "stage": stage, "file": str(weights)}
        (folder / RECORD).write_text(json.dumps({**record, "stamp": file_stamp(weights)}) + "\n")


def read_made(folder: Path) -> DCAE:
    """A model that a stage of the pipeline made.

    Raises:
        UserError: if it is a copy, and the file that it was read from has changed since.
    """
    if (folder / RECORD).is_file():
        record = json.loads((folder / RECORD).read_text())
        name, stage = record["file"], record["stage"]
        if Path(name).is_file() and file_stamp(Path(name)) != tuple(record["stamp"]):
            raise UserError(
                f"{record['field']}: {name} has changed since {stage} read it; "
                f"`dvc repro -f {stage}` reads it again"
            )
    return read_model(folder)


def load_teacher(source: str, sha256: str | None) -> tuple[DCAE, str]:
    """The teacher, and the sha256 of its weights (see `weights_sha256`).

    Raises:
        UserError: if the file is not the one that `sha256` names, or can't be read.
    """
    weights, found = find_teacher(source, sha256)
    return read_model(weights), found


def find_teacher(source: str, sha256: str | None) -> tuple[Path, str]:
    """The teacher's weights, and their sha256 (see `weights_sha256`).

    Raises:
        UserError: if they can't be had, or are not those that `sha256` names.
    """
    weights = weights_file(find_model(source, "teacher.source"))
    found = weights_sha256(weights)
    if sha256 is not None and found != sha256:
        raise UserError(f"teacher.sha256: {weights} has {found}, expected {sha256}")
    return weights, found
