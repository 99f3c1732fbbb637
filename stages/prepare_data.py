"""Fetch the embedded photos or check the user's folder; fix the crops for evaluation."""

from pathlib import Path

from dcde.config import Params
from dcde.data import Manifest, check_images, eval_crops, split_photos
from dcde.errors import one_line_errors
from dcde.files import whole_folder
from dcde.paramsfile import load_params
from dcde.photos import write_photos

OUT = Path("data/photos")


def main() -> None:
    params = load_params(Path("params.yaml"), Params).data
    with whole_folder(OUT) as partial:
        if params.source == "embedded":
            write_photos(partial)
        source = partial if params.source == "embedded" else Path(params.source).expanduser()
        train, val = (
            check_images(p, params.on_bad_image) for p in split_photos(source, params.val_fraction)
        )
        crops = [c for photo in val for c in eval_crops(photo, params.eval_size, params.eval_crops)]
        Manifest(tuple(train), tuple(crops)).save(partial / "manifest.json")
    print(f"{len(train)} photos for training, {len(crops)} crops of {len(val)} for evaluation")


if __name__ == "__main__":
    with one_line_errors():
        main()
