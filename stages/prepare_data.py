"""Fetch the embedded photos or check the user's folder; fix the crops for evaluation."""

from dcde.base.errors import one_line_errors
from dcde.base.paths import MANIFEST, PARAMS
from dcde.base.say import say, told
from dcde.data.prepare import prepare_photos
from dcde.params.file import load_params
from dcde.params.pipeline import Params


def main() -> None:
    params = load_params(PARAMS, Params).data
    say(f"photos: {params.source}; {params.eval_crops} crops of each that evaluation gets")
    found = prepare_photos(params, MANIFEST)
    photos = len({crop.path for crop in found.eval})
    say(f"{len(found.train)} photos for training, {len(found.eval)} crops of {photos} to evaluate")


if __name__ == "__main__":
    with one_line_errors(), told("prepare_data"):
        main()
