"""Measure teacher, pruned and student on the same crops, and show them side by side."""

import shutil

from dcde.base import paths
from dcde.base.devices import loader_workers
from dcde.base.errors import one_line_errors
from dcde.base.processes import shared_run
from dcde.base.results import write_metrics, write_table
from dcde.base.say import say, told
from dcde.base.work import stage_key, work_dir
from dcde.data.grid import reconstruction_grid, save_picture
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.evaluate.evaluate import evaluate, gap_to_teacher, image_rows
from dcde.evaluate.intervals import score_intervals, score_rows
from dcde.metrics.lpips import load_lpips
from dcde.metrics.weights import FID_STATS, frechet_networks
from dcde.model.sources import read_made
from dcde.params.file import load_params
from dcde.params.pipeline import Params

GRID_IMAGES = 6


def main() -> None:
    params = load_params(paths.PARAMS, Params)
    crops = Manifest.load(paths.MANIFEST).eval
    state_dir = work_dir() / "eval" / stage_key("eval")
    models = {name: read_made(folder) for name, folder in paths.MODELS.items()}
    say(f"{len(crops)} crops of {params.data.eval_size} px by {len(models)} models")
    stats = paths.METRIC_NETWORKS / FID_STATS if params.eval.fid_stats else None
    with shared_run(state_dir):
        result = evaluate(
            models,
            crops,
            lpips_metric=load_lpips(paths.LPIPS),
            networks=frechet_networks(
                paths.METRIC_NETWORKS,
                fid=params.eval.fid,
                resolution=params.data.eval_size,
                stats=stats,
            ),
            workers=loader_workers(params.runtime.workers),
            state_dir=state_dir,
        )
        if result is None:  # only the main process has it
            return
        shown = spread(crops, GRID_IMAGES)
        save_picture(reconstruction_grid(models, shown), paths.EVAL_PLOTS / "grid.jpg")
        scores = result.scores | {"gap": gap_to_teacher(result.scores)}
        intervals = score_intervals(result.values, [crop.path for crop in crops])
        write_table(score_rows(scores, intervals), paths.EVAL_SCORES)
        write_table(image_rows(result, crops), paths.EVAL_IMAGES)
        write_metrics(scores, paths.EVAL_METRICS)
        shutil.rmtree(state_dir)


if __name__ == "__main__":
    with one_line_errors(), told("eval"):
        main()
