"""Measure the model before and after training on the same crops, and show both side by side."""

import shutil

from autoencoder import paths
from dcde.base.devices import loader_workers
from dcde.base.errors import one_line_errors
from dcde.base.processes import shared_run
from dcde.base.results import write_metrics, write_table
from dcde.base.say import told
from dcde.base.work import stage_key, work_dir
from dcde.data.grid import reconstruction_grid, save_picture
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.evaluate.evaluate import evaluate
from dcde.evaluate.intervals import score_intervals, score_rows
from dcde.metrics.lpips import load_lpips
from dcde.metrics.weights import frechet_networks
from dcde.model.sources import read_made
from dcde.params.autoencoder import AutoencoderParams
from dcde.params.file import load_params

PICTURES = 6


def main() -> None:
    params = load_params(paths.PARAMS, AutoencoderParams)
    crops = Manifest.load(paths.MANIFEST).eval
    models = {"start": read_made(paths.START), "trained": read_made(paths.TRAINED)}
    state_dir = work_dir() / "autoencoder" / stage_key("eval", paths.PIPELINE)
    size = params.data.eval_size
    with shared_run(state_dir):
        result = evaluate(
            models,
            crops,
            lpips_metric=load_lpips(paths.LPIPS),
            networks=frechet_networks(paths.METRIC_NETWORKS, fid=False, resolution=size),
            workers=loader_workers(params.runtime.workers),
            state_dir=state_dir,
        )
        assert result is not None  # this is the only process
        before, after = result.scores["start"], result.scores["trained"]
        gain = {score: after[score] - before[score] for score in after}
        scores = {**result.scores, "gain": gain}
        photos = [crop.path for crop in crops]
        intervals = score_intervals(
            result.values, photos, difference="gain", of="trained", minus="start"
        )
        shown = spread(crops, PICTURES)
        save_picture(reconstruction_grid(models, shown), paths.PLOTS / "eval/grid.jpg")
        write_table(score_rows(scores, intervals), paths.PLOTS / "eval/scores.csv")
        write_metrics({**scores, "images": len(crops)}, paths.EVAL_METRICS)
        shutil.rmtree(state_dir)


if __name__ == "__main__":
    with one_line_errors(), told("eval", paths.PIPELINE):
        main()
