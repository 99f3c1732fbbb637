"""Photos made ready for a run: fetched or checked, split, and with fixed crops for evaluation."""

from __future__ import annotations

from pathlib import Path

from dcde.base.files import whole_folder
from dcde.base.params import DataParams
from dcde.base.work import run_key, work_dir
from dcde.data.crops import eval_crops
from dcde.data.embedded import write_photos
from dcde.data.folder import split_photos
from dcde.data.manifest import FILES, Manifest
from dcde.data.recorded import record_files


def prepare_photos(params: DataParams, manifest: Path) -> Manifest:
    """Write the manifest, and the embedded photos into its folder if they are asked for.

    Raises:
        UserError: if there are too few photos, or bad ones that are refused; nothing is written.
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
        train, val = split_photos(source, params.val_fraction, params.on_bad_image, checked)
        crops = [c for photo in val for c in eval_crops(photo, params.eval_size, params.eval_crops)]
        found = Manifest(tuple(train), tuple(crops))
        found.save(partial / manifest.name)
    return found
