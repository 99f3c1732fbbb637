"""Count and time teacher, pruned and student."""

from dcde.base.devices import best_device
from dcde.base.errors import one_line_errors
from dcde.base.paths import MODELS, PARAMS, PROFILE_COSTS, PROFILE_DECODING, PROFILE_METRICS
from dcde.base.results import write_metrics, write_table
from dcde.base.say import say, told
from dcde.model.checkpoint import read_model
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from dcde.profile.profile import RUNS, profile_metrics, profile_models


def main() -> None:
    params = load_params(PARAMS, Params)
    models = {name: read_model(folder) for name, folder in MODELS.items()}
    sizes = ", ".join(map(str, params.profile.resolutions))
    say(f"{len(models)} models at {sizes} px, {RUNS} runs of each way to decode")
    profile = profile_models(models, params.profile, seed=params.seed, device=best_device())
    write_table(profile.costs, PROFILE_COSTS)
    write_table(profile.decoding, PROFILE_DECODING)
    write_metrics(profile_metrics(profile), PROFILE_METRICS)


if __name__ == "__main__":
    with one_line_errors(), told("profile"):
        main()
