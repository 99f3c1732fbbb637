"""What prepare_data found, as JSON that every later stage reads."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
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
        """Write it as JSON: for each photo and crop a list of its fields.

        Photos below its own folder are named relative to that.
        """
        below = f"{path.parent}{os.sep}"
        raw = {
            name: [[entry.path.removeprefix(below), *entry[1:]] for entry in entries]
            for name, entries in (("train", self.train), ("eval", self.eval))
        }
        path.write_text(json.dumps(raw) + "\n")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read it back.

        Raises:
            UserError: if it is missing or of another version, and if the photos are not those that
                prepare_data saw.
        """
        if not path.is_file():
            raise UserError(f"{path}: not found; `dvc repro prepare_data` makes it")
        if (files := path.parent / FILES).is_file():
            check_files(files)
        raw, folder = json.loads(path.read_text()), path.parent
        if not all(isinstance(entry, list) for entries in raw.values() for entry in entries):
            raise UserError(
                f"{path}: written by another version of DCDE; `dvc repro -f prepare_data` writes it"
                " anew"
            )
        return cls(
            train=tuple(Photo(os.path.join(folder, name), *rest) for name, *rest in raw["train"]),
            eval=tuple(Crop(os.path.join(folder, name), *rest) for name, *rest in raw["eval"]),
        )
