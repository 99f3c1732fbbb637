"""Train by one of the three phases; the phase is the argument."""

import sys

from autoencoder.paths import BEFORE, LPIPS, MANIFEST, MODELS, PARAMS, PIPELINE, PLOTS, SAMPLES
from dcde.autoencode.phase import train_phase
from dcde.base.errors import one_line_errors
from dcde.base.processes import process_state, shared_run
from dcde.base.say import say, told
from dcde.base.work import stage_key, work_dir
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.model.checkpoint import save_model
from dcde.model.sources import read_made
from dcde.params.autoencoder import AutoencoderParams
from dcde.params.file import load_params
from dcde.train.run_state import finish_run


def main(name: str) -> None:
    params = load_params(PARAMS, AutoencoderParams)
    model, phase = read_made(BEFORE[name]), params.phases()[name]
    if phase.epochs == 0:
        say(f"{name} has no epochs and changes nothing")
        save_model(model, MODELS[name])
        for folder in (PLOTS / name, SAMPLES / name):
            folder.mkdir(parents=True, exist_ok=True)
        return
    manifest = Manifest.load(MANIFEST)
    state_dir = work_dir() / "autoencoder" / stage_key(name, PIPELINE)
    with shared_run(state_dir):
        train_phase(
            model,
            name,
            params,
            photos=manifest.train,
            validation=spread(manifest.eval, params.show_images),
            lpips_weights=LPIPS,
            state_dir=state_dir,
        )
        if process_state().is_main_process:
            keep = {"live": PLOTS / name, "samples": SAMPLES / name}
            finish_run(model, MODELS[name], state_dir, keep)


if __name__ == "__main__":
    with one_line_errors(), told(sys.argv[1], PIPELINE):
        main(sys.argv[1])
