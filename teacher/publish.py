"""Measure the teacher and each block of its decoder; write it in half precision."""

from dataclasses import asdict
from pathlib import Path

import torch

from dcde.checkpoint import WEIGHTS, load_model, save_model
from dcde.data import check_images, eval_crops, list_images, load_images, spread
from dcde.devices import best_device
from dcde.errors import one_line_errors
from dcde.evaluation import evaluate
from dcde.frechet import lite0_network
from dcde.influence import block_influence
from dcde.lite0 import LITE0
from dcde.paramsfile import load_params
from dcde.perceptual import LPIPS_ALEX, load_lpips
from dcde.reports import reconstruction_grid, write_metrics
from dcde.runstate import run_key, work_dir
from teacher.config import TeacherTrainParams

NETWORKS = Path("models/networks")
REFINED, OUT = Path("teacher/models/refined"), Path("teacher/models/published")
METRICS, GRID = Path("teacher/metrics.json"), Path("teacher/plots/publish/grid.jpg")
PROBED = 24  # images on which each block is dropped in turn
SHOWN = 6


@torch.inference_mode()
def main() -> None:
    params = load_params(Path("teacher/params.yaml"), TeacherTrainParams)
    device = best_device()
    model = load_model(REFINED)
    for parameter in model.parameters():
        if parameter.ndim == 4:  # vectors, norms among them, are small and stay in fp32
            parameter.data = parameter.data.half()
    save_model(model, OUT)

    model = load_model(OUT).to(device)
    photos = check_images(list_images(Path(params.data.val)), params.data.on_bad_image)
    size = params.data.eval_size
    crops = [crop for p in photos for crop in eval_crops(p, size, 1)]
    lpips_metric = load_lpips(NETWORKS / LPIPS_ALEX).to(device)
    result = evaluate(
        {"teacher": model},
        crops,
        lpips_metric=lpips_metric,
        networks=[lite0_network(NETWORKS / LITE0)],
        batch_size=8,
        workers=0,
        device=device,
        state_dir=work_dir() / "publish" / run_key(list(crops), [OUT / WEIGHTS]),
        cache_dir=work_dir() / "references",
    )
    assert result is not None  # this is the only process
    probed = spread(photos, PROBED)
    images = load_images(probed, size).to(device)
    blocks = block_influence(model, images, lpips_metric, batch_size=8)
    GRID.parent.mkdir(parents=True, exist_ok=True)
    shown = spread(crops, SHOWN)
    reconstruction_grid({"teacher": model}, shown).save(GRID, quality=92)
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
