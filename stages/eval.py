"""Measure teacher, pruned and student on the same crops, and show them side by side."""

from pathlib import Path

from dcde.checkpoint import load_model
from dcde.config import Params, load_params
from dcde.data import Manifest, spread
from dcde.devices import best_device
from dcde.errors import one_line_errors
from dcde.lite0 import LITE0
from dcde.metrics import evaluate, frechet_networks, gap_to_teacher
from dcde.perceptual import LPIPS_ALEX, load_lpips
from dcde.reports import reconstruction_grid, write_metrics

NETWORKS = Path("models/networks")
METRICS, GRID = Path("metrics/eval.json"), Path("plots/eval/grid.jpg")


def main() -> None:
    params = load_params(Path("params.yaml"), Params).eval
    device = best_device()
    networks = frechet_networks(NETWORKS / LITE0, fid=params.fid, device=device)
    crops = Manifest.load(Path("data/photos/manifest.json")).eval
    models = {
        name: load_model(Path("models") / name).to(device)
        for name in ("teacher", "pruned", "student")
    }
    scores = evaluate(
        models,
        crops,
        lpips_metric=load_lpips(NETWORKS / LPIPS_ALEX).to(device),
        networks=networks,
        batch_size=params.batch_size,
        device=device,
    )
    shown = spread(crops, params.grid_images)
    GRID.parent.mkdir(parents=True, exist_ok=True)
    reconstruction_grid(models, shown).save(GRID, quality=92)
    write_metrics({**scores, "gap": gap_to_teacher(scores), "images": len(crops)}, METRICS)


if __name__ == "__main__":
    with one_line_errors():
        main()
