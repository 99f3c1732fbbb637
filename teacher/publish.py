"""Measure the teacher and each block of its decoder; write it in half precision."""

from dataclasses import asdict
from pathlib import Path

import torch

from dcde.base.devices import best_device
from dcde.base.errors import one_line_errors
from dcde.base.params_file import load_params
from dcde.base.paths import LPIPS, METRIC_NETWORKS
from dcde.base.results import write_metrics
from dcde.base.work import stage_key, work_dir
from dcde.data.crops import eval_crops, load_images
from dcde.data.folder import check_images, list_images
from dcde.data.grid import reconstruction_grid, save_picture
from dcde.data.spread import spread
from dcde.evaluate.evaluate import evaluate
from dcde.metrics.frechet import lite0_network
from dcde.metrics.lite0 import LITE0
from dcde.metrics.lpips import load_lpips
from dcde.model.checkpoint import read_model, save_model
from dcde.prune.influence import block_influence
from teacher.params import TeacherTrainParams
from teacher.paths import METRICS, PARAMS, PIPELINE, PLOTS, PUBLISHED, REFINED

PROBED = 24  # images on which each block is dropped in turn
SHOWN = 6


@torch.inference_mode()
def main() -> None:
    params = load_params(PARAMS, TeacherTrainParams)
    device = best_device()
    model = read_model(REFINED)
    for parameter in model.parameters():
        if parameter.ndim == 4:  # vectors, norms among them, are small and stay in fp32
            parameter.data = parameter.data.half()
    save_model(model, PUBLISHED)

    model = read_model(PUBLISHED).to(device)
    photos = check_images(list_images(Path(params.data.val)), params.data.on_bad_image)
    size = params.data.eval_size
    crops = [crop for p in photos for crop in eval_crops(p, size, 1)]
    lpips_metric = load_lpips(LPIPS).to(device)
    result = evaluate(
        {"teacher": model},
        crops,
        lpips_metric=lpips_metric,
        networks=[lite0_network(METRIC_NETWORKS / LITE0)],
        batch_size=8,
        workers=0,
        device=device,
        state_dir=work_dir() / "teacher" / stage_key("publish", PIPELINE),
        cache_dir=work_dir() / "references",
    )
    assert result is not None  # this is the only process
    probed = spread(photos, PROBED)
    images = load_images(probed, size).to(device)
    blocks = block_influence(model, images, lpips_metric, batch_size=8)
    grid = reconstruction_grid({"teacher": model}, spread(crops, SHOWN))
    save_picture(grid, PLOTS / "publish/grid.jpg")
    write_metrics(
        {
            **result.scores["teacher"],
            "images": len(crops),
            "latent_std": model.encode(images).std().item(),
            "blocks": {b.name: asdict(b) for b in blocks},
        },
        METRICS,
    )


if __name__ == "__main__":
    with one_line_errors():
        main()
