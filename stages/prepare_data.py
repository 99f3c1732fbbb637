"""Fetch the embedded photos or check the user's folder; fix the crops for evaluation."""

from pathlib import Path

from dcde.base.errors import one_line_errors
from dcde.base.files import whole_folder
from dcde.base.params import Params
from dcde.base.params_file import load_params
from dcde.base.paths import MANIFEST, PARAMS, PHOTOS
from dcde.base.say import say, told
from dcde.base.work import run_key, work_dir
from dcde.data.crops import eval_crops
from dcde.data.embedded import write_photos
from dcde.data.folder import split_photos
from dcde.data.manifest import FILES, Manifest
from dcde.data.recorded import record_files


def main() -> None:
    params = load_params(PARAMS, Params).data
    say(f"photos: {params.source}; {params.eval_crops} crops of each that evaluation gets")
    checked = None
    with whole_folder(PHOTOS) as partial:
        if params.source == "embedded":
            source = partial
            write_photos(source)
        else:
            source = Path(params.source).expanduser().resolve()
            record_files(source, partial / FILES)
            checked = work_dir() / "photos" / f"{run_key(str(source), [])}.jsonl"
        train, val = split_photos(source, params.val_fraction, params.on_bad_image, checked)
        crops = [c for photo in val for c in eval_crops(photo, params.eval_size, params.eval_crops)]
        Manifest(tuple(train), tuple(crops)).save(partial / MANIFEST.name)
    say(f"{len(train)} photos for training, {len(crops)} crops of {len(val)} for evaluation")


if __name__ == "__main__":
    with one_line_errors(), told("prepare_data"):
        main()
