"""The photos and crops of a run, as JSON that every later stage reads."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dcde.base.errors import UserError
from dcde.data.check import check_unchanged
from dcde.data.crops import Crop
from dcde.data.folder import Photo

FILES = "files.jsonl"
"""Beside the manifest: the record of photos that lie elsewhere (see `dcde.data.check`)."""


@dataclass(frozen=True)
class Manifest:
    """Photos to train on, and fixed crops to measure with."""

    train: tuple[Photo, ...]
    eval: tuple[Crop, ...]

    def save(self, path: Path) -> None:
        """Write each photo and crop as a list of its fields.

        Photos below the manifest's folder are named relative to it.
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
            UserError: if it is missing, or if photos have changed since it was written.
        """
        if not path.is_file():
            raise UserError(f"{path}: not found; `dvc repro prepare_data` makes it")
        if (files := path.parent / FILES).is_file():
            check_unchanged(files)
        raw, folder = json.loads(path.read_text()), path.parent
        return cls(
            train=tuple(Photo(os.path.join(folder, name), *rest) for name, *rest in raw["train"]),
            eval=tuple(Crop(os.path.join(folder, name), *rest) for name, *rest in raw["eval"]),
        )
