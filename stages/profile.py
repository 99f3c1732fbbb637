"""Count and time teacher, pruned and student."""

from pathlib import Path
from typing import Any

from dcde.checkpoint import load_model
from dcde.config import Params
from dcde.devices import best_device, device_name
from dcde.errors import one_line_errors
from dcde.latency import DTYPES, decode_costs, decoders, example_latent
from dcde.paramsfile import load_params
from dcde.profiling import reductions, static_costs
from dcde.reports import write_metrics

METRICS = Path("metrics/profile.json")


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    profile, device = params.profile, best_device()
    models = {name: load_model(Path("models") / name) for name in ("teacher", "pruned", "student")}
    macs_resolution = profile.resolutions[0]
    costs = {name: static_costs(model.config, macs_resolution) for name, model in models.items()}
    metrics: dict[str, Any] = {
        name: {**cost, **reductions(cost, costs["teacher"])} for name, cost in costs.items()
    }
    dtype = DTYPES[profile.precision]
    ways = decoders(models, dtype, device)
    for resolution in profile.resolutions:
        for batch in profile.batch_sizes:
            latent = example_latent(models["teacher"].config, resolution, batch, params.seed)
            decoding = decode_costs(
                ways, latent.to(device, dtype), warmup_runs=profile.warmup_runs, runs=profile.runs
            )
            for (name, way), values in decoding.items():
                # The plain model's at batch 1 are the model's own entries, the others below them.
                place = metrics[name]
                if way != "plain":
                    place = place.setdefault(way, {})
                if batch != 1:
                    place = place.setdefault(f"batch{batch}", {})
                place.update({f"{key}_{resolution}": value for key, value in values.items()})
    settings = {"macs_resolution": macs_resolution, "precision": profile.precision}
    write_metrics({**metrics, **settings, "device": device_name(device)}, METRICS)


if __name__ == "__main__":
    with one_line_errors():
        main()
