"""Photos made ready for a run: fetched or checked, split, and with fixed crops for evaluation."""

from __future__ import annotations

from pathlib import Path

from dcde.base.files import whole_folder
from dcde.base.work import run_key, work_dir
from dcde.data.crops import eval_crops
from dcde.data.embedded import embedded_counts, write_photos
from dcde.data.folder import split_counts, split_photos
from dcde.data.manifest import FILES, Manifest
from dcde.data.recorded import record_files
from dcde.params.training import DataParams


def prepare_photos(params: DataParams, manifest: Path) -> Manifest:
    """Write the manifest, and the embedded photos beside it if they are asked for.

    Raises:
        UserError: if there are too few photos; nothing is written.
    """
    checked = None
    with whole_folder(manifest.parent) as partial:
        if params.source == "embedded":
            source = partial
            write_photos(source)
        else:
            source = Path(params.source).expanduser().resolve()
            record_files(source, partial / FILES)
            checked = work_dir() / "photos" / f"{run_key(str(source), [])}.jsonl"
        train, val = split_photos(source, params.val_fraction, checked)
        crops = [c for photo in val for c in eval_crops(photo, params.eval_size, params.eval_crops)]
        found = Manifest(tuple(train), tuple(crops))
        found.save(partial / manifest.name)
    return found


def photo_counts(source: str, val_fraction: float) -> tuple[int, int]:
    """Count the photos for training and for evaluation, as if all of them can be read.

    Raises:
        UserError: if there are too few.
    """
    if source == "embedded":
        return embedded_counts()
    return split_counts(Path(source).expanduser(), val_fraction)
