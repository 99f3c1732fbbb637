"""Count and time teacher, pruned and student."""

from pathlib import Path

from dcde.checkpoint import load_model
from dcde.config import Params, load_params
from dcde.devices import best_device, device_name
from dcde.errors import one_line_errors
from dcde.profiling import decode_costs, reductions, static_costs
from dcde.reports import write_metrics

METRICS = Path("metrics/profile.json")


def main() -> None:
    params = load_params(Path("params.yaml"), Params).profile
    device = best_device()
    models = {
        name: load_model(Path("models") / name).to(device)
        for name in ("teacher", "pruned", "student")
    }
    macs_resolution = params.resolutions[0]
    costs = {name: static_costs(model.config, macs_resolution) for name, model in models.items()}
    metrics: dict[str, dict[str, float | None]] = {
        name: {**cost, **reductions(cost, costs["teacher"])} for name, cost in costs.items()
    }
    for resolution in params.resolutions:
        decoding = decode_costs(
            models,
            resolution,
            warmup_runs=params.warmup_runs,
            runs=params.runs,
            device=device,
        )
        for name, values in decoding.items():
            metrics[name] |= {f"{key}_{resolution}": value for key, value in values.items()}
    write_metrics(
        {**metrics, "device": device_name(device), "macs_resolution": macs_resolution}, METRICS
    )


if __name__ == "__main__":
    with one_line_errors():
        main()
