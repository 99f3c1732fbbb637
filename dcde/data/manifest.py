"""What prepare_data found, as JSON that every later stage reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dcde.base.errors import UserError
from dcde.data.crops import Crop
from dcde.data.folder import Photo
from dcde.data.recorded import check_files

FILES = "files.csv"
"""Beside the manifest, of photos that lie elsewhere (see `dcde.data.recorded`)."""


@dataclass(frozen=True)
class Manifest:
    """What prepare_data found: photos to train on, and fixed crops to measure with."""

    train: tuple[Photo, ...]
    eval: tuple[Crop, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON; photos below its own folder are named relative to that."""
        root = path.parent.resolve()
        raw = asdict(self)
        for entry in (*raw["train"], *raw["eval"]):
            photo = Path(entry["path"]).resolve()
            inside = photo.is_relative_to(root)
            entry["path"] = str(photo.relative_to(root) if inside else photo)
        path.write_text(json.dumps(raw, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read it back.

        Raises:
            UserError: if it is missing, and if the photos are not those that prepare_data saw.
        """
        if not path.is_file():
            raise UserError(f"{path}: not found; `dvc repro prepare_data` makes it")
        if (files := path.parent / FILES).is_file():
            check_files(files)
        raw = json.loads(path.read_text())
        for entry in (*raw["train"], *raw["eval"]):
            entry["path"] = str(path.parent / entry["path"])
        return cls(
            train=tuple(Photo(**photo) for photo in raw["train"]),
            eval=tuple(Crop(**crop) for crop in raw["eval"]),
        )
