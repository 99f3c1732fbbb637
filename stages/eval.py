"""Measure teacher, pruned and student on the same crops, and show them side by side."""

import shutil
from pathlib import Path

from dcde.checkpoint import WEIGHTS, load_model
from dcde.confidence import score_intervals
from dcde.config import Params
from dcde.data import Manifest, spread
from dcde.devices import best_device
from dcde.errors import one_line_errors
from dcde.evaluation import evaluate, image_rows
from dcde.metrics import gap_to_teacher
from dcde.networks import frechet_networks
from dcde.paramsfile import load_params
from dcde.perceptual import LPIPS_ALEX, load_lpips
from dcde.reports import reconstruction_grid, save_picture, write_metrics, write_table
from dcde.runstate import run_key, work_dir

FOLDERS = {name: Path("models") / name for name in ("teacher", "pruned", "student")}
NETWORKS, MANIFEST = Path("models/networks"), Path("data/photos/manifest.json")
METRICS, GRID = Path("metrics/eval.json"), Path("plots/eval/grid.jpg")
IMAGES = Path("metrics/images.csv")


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    resolution = params.data.eval_size
    networks = frechet_networks(NETWORKS, fid=params.eval.fid, resolution=resolution)
    crops = Manifest.load(MANIFEST).eval
    models = {name: load_model(folder) for name, folder in FOLDERS.items()}
    files = [*(f / WEIGHTS for f in FOLDERS.values()), MANIFEST, *sorted(NETWORKS.iterdir())]
    files += sorted(Path("dcde").rglob("*.py"))
    state_dir = work_dir() / "eval" / run_key(params.eval.model_dump(mode="json"), files)
    result = evaluate(
        models,
        crops,
        lpips_metric=load_lpips(NETWORKS / LPIPS_ALEX),
        networks=networks,
        batch_size=params.eval.batch_size,
        workers=params.runtime.workers,
        device=best_device(),
        state_dir=state_dir,
        cache_dir=work_dir() / "references",
    )
    if result is None:  # the main process has it
        return
    intervals = score_intervals(result.values, [crop.path for crop in crops], params.seed)
    gap = gap_to_teacher(result.scores)
    save_picture(reconstruction_grid(models, spread(crops, params.eval.grid_images)), GRID)
    write_metrics({**result.scores, "gap": gap, "ci95": intervals, "images": len(crops)}, METRICS)
    rows = image_rows(result, crops)
    write_table(list(rows[0]), rows, IMAGES)
    shutil.rmtree(state_dir)


if __name__ == "__main__":
    with one_line_errors():
        main()
