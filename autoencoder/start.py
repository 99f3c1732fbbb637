"""Make the model to start from: with random weights, or an existing one."""

from autoencoder.paths import PARAMS, PIPELINE, START
from dcde.autoencode.start import is_trained, start_model
from dcde.base.errors import one_line_errors
from dcde.base.say import say, told
from dcde.model.checkpoint import save_model
from dcde.model.sources import record_source
from dcde.params.autoencoder import AutoencoderParams
from dcde.params.file import load_params


def main() -> None:
    params = load_params(PARAMS, AutoencoderParams)
    model = start_model(params.start, params.seed)
    save_model(model, START)
    trained = is_trained(params.start)
    if trained:
        record_source(params.start, "start", "start", START)
    say(f"{model.config.name}, {'as it was trained' if trained else 'with random weights'}")
    phases = params.phases().values()
    if trained and any(p.epochs and p.trains in ("all", "middle") for p in phases):
        say(
            "warning: the encoder trains too, so latents will change: diffusion models made for "
            "this autoencoder won't fit the result (trains: decoder keeps them)"
        )


if __name__ == "__main__":
    with one_line_errors(), told("start", PIPELINE):
        main()
