"""Fetch the embedded photos or check the user's folder; fix the crops for evaluation."""

from autoencoder.paths import MANIFEST, PARAMS, PIPELINE
from dcde.autoencode.phase import check_phases
from dcde.base.errors import one_line_errors
from dcde.base.say import say, told
from dcde.data.prepare import prepare_photos
from dcde.params.autoencoder import AutoencoderParams
from dcde.params.file import load_params


def main() -> None:
    params = load_params(PARAMS, AutoencoderParams)
    check_phases(params)  # first, before any work
    found = prepare_photos(params.data, MANIFEST)
    say(f"{len(found.train)} photos for training, {len(found.eval)} crops for evaluation")


if __name__ == "__main__":
    with one_line_errors(), told("prepare_data", PIPELINE):
        main()
