"""Prepare photos for a run: fetch or check them, split them, fix the crops for evaluation."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tqdm import tqdm

from dcde.base.errors import UserError
from dcde.base.files import whole_folder
from dcde.base.work import run_key, work_dir
from dcde.data.check import check_images, save_record
from dcde.data.crops import eval_crops
from dcde.data.embedded import embedded_counts, write_photos
from dcde.data.folder import Photo, list_images, parts
from dcde.data.manifest import FILES, Manifest
from dcde.params.training import DataParams

SOURCE = "data.source"


def prepare_photos(params: DataParams, manifest: Path) -> Manifest:
    """Write the manifest, and beside it the embedded photos or the record of the user's files.

    Raises:
        UserError: if there are too few photos; nothing is written.
    """
    with whole_folder(manifest.parent) as partial:
        if params.source == "embedded":
            write_photos(partial)
            train, val = split_photos(partial, params.val_fraction)
        else:
            named = Path(params.source).expanduser()
            source = named.resolve()
            record = work_dir() / "photos" / f"{run_key(str(source), [])}.jsonl"
            train, val = split_photos(source, params.val_fraction, record)
            save_record(named, record, partial / FILES)
        crops = [c for photo in val for c in eval_crops(photo, params.eval_size, params.eval_crops)]
        found = Manifest(tuple(train), tuple(crops))
        found.save(partial / manifest.name)
    return found


def split_photos(
    folder: Path, val_fraction: float, record: Path | None = None
) -> tuple[list[Photo], list[Photo]]:
    """Return the photos for training and for evaluation: those of the folder's parts, or shares.

    For shares, the photos with the smallest hashes are for evaluation: the choice is the same on
    every machine, and stable when photos are added.

    Args:
        record: see `check_images`.

    Raises:
        UserError: if there are too few images to split.
    """
    train, val = _listed(folder)
    photos = check_images(train, record)
    if val:
        return photos, check_images(val, record)
    _, n_val = _shares(folder, len(photos), val_fraction)

    def rank(photo: Photo) -> bytes:
        return hashlib.sha256(str(Path(photo.path).relative_to(folder)).encode()).digest()

    held_out = set(sorted(photos, key=rank)[:n_val])
    return [p for p in photos if p not in held_out], [p for p in photos if p in held_out]


def photo_counts(source: str, val_fraction: float) -> tuple[int, int]:
    """Count the photos for training and for evaluation, as if all of them can be read.

    Raises:
        UserError: if there are too few.
    """
    if source == "embedded":
        return embedded_counts()
    folder = Path(source).expanduser()
    train, val = map(len, _listed(folder))
    return (train, val) if val else _shares(folder, train, val_fraction)


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the images to train on, and those to evaluate on if they are apart; say which is which.

    The second list is empty if they are not.
    """
    train, val, said = parts(folder)
    images = _images(train), _images(val)
    tqdm.write(f"photos: {said}")
    return images


def _images(folders: list[Path]) -> list[Path]:
    return [path for folder in folders for path in list_images(folder, SOURCE)]


def _shares(folder: Path, photos: int, val_fraction: float) -> tuple[int, int]:
    if photos < 2:
        raise UserError(
            f"{SOURCE}: {folder}: found 1 readable image, expected at least 2 to split into "
            "train and val"
        )
    n_val = min(photos - 1, max(1, round(photos * val_fraction)))
    return photos - n_val, n_val
