"""Where a teacher comes from: bundled with the package, a model hub, or a folder."""

from __future__ import annotations

from pathlib import Path

from dcde.checkpoint import load_model, weights_file
from dcde.errors import UserError
from dcde.files import sha256_of
from dcde.model import DCAE

ASSETS = Path(__file__).parent / "assets"


def find_teacher(source: str) -> Path:
    """The folder of a teacher, downloaded if need be.

    Args:
        source: `bundled:<name>`, `hf:<repo>[@revision]` or a folder.

    Raises:
        UserError: telling what was tried and how to proceed.
    """
    kind, _, name = source.partition(":")
    if kind == "bundled" and name:
        folder = ASSETS / name
        if not folder.is_dir():
            bundled = ", ".join(sorted(p.name for p in ASSETS.iterdir() if p.is_dir()))
            raise UserError(f"teacher.source: found {source!r}, but bundled are only: {bundled}")
        return folder
    if kind == "hf" and name:
        return _from_hub(name)
    folder = Path(source).expanduser()
    if not folder.exists():
        raise UserError(
            f"teacher.source: found {source!r}, expected bundled:<name>, hf:<repo>[@revision] or "
            "an existing folder"
        )
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repo, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repo, revision=revision or None, allow_patterns=["config.json", "*.safetensors"]
            )
        )
    except HFValidationError as error:
        raise UserError(f"teacher.source: hf:{name}: {error}") from None
    except Exception as error:  # the hub's client raises many types, by transport and version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"teacher.source: hf:{name} is neither cached nor to be downloaded ({reason}); connect "
            f"to the hub, or run `hf download {repo}` where it can be reached and set "
            "teacher.source to that folder"
        ) from None


def load_teacher(source: str, sha256: str | None) -> tuple[DCAE, str]:
    """The teacher, and the sha256 of its weights file.

    Raises:
        UserError: if the file is not the one that `sha256` names, or can't be read.
    """
    folder = find_teacher(source)
    weights = weights_file(folder) if folder.is_dir() else folder
    found = sha256_of(weights)
    if sha256 is not None and found != sha256:
        raise UserError(f"teacher.sha256: {weights} has {found}, expected {sha256}")
    return load_model(folder), found
