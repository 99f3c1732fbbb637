"""Make the student: the teacher with fewer blocks in its decoder, or narrower ones."""

from dataclasses import asdict
from functools import cache
from pathlib import Path

from torch import Tensor

from dcde.calibration import recalibrate
from dcde.checkpoint import load_model, save_model
from dcde.choosing import check_prune, choose_blocks, summary
from dcde.config import Params
from dcde.data import Manifest, load_images
from dcde.devices import best_device
from dcde.errors import one_line_errors
from dcde.influence import block_influence
from dcde.narrowing import prune_width
from dcde.paramsfile import load_params
from dcde.perceptual import LPIPS_ALEX, load_lpips
from dcde.pruning import prune_depth
from dcde.reports import write_metrics, write_table
from dcde.widths import narrow_config

TEACHER, OUT = Path("models/teacher"), Path("models/pruned")
MANIFEST, LPIPS = Path("data/photos/manifest.json"), Path("models/networks") / LPIPS_ALEX
METRICS, PLOT = Path("metrics/prune.json"), Path("plots/prune/influence.csv")


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    prune, device = params.prune, best_device()
    teacher = load_model(TEACHER)
    check_prune(teacher.config, prune)

    @cache
    def images() -> Tensor:
        photos = Manifest.load(MANIFEST).train[: prune.calibration_images]
        return load_images(photos, params.data.eval_size).to(device)

    blocks = []
    if prune.measures:
        blocks = block_influence(teacher.to(device), images(), load_lpips(LPIPS).to(device))
    kept = choose_blocks(teacher.config, prune, blocks)
    fresh = params.seed if prune.method == "random" else None
    student = prune_depth(teacher.cpu(), kept, fresh_seed=fresh).to(device)
    if prune.narrows:
        config = narrow_config(student.config, prune.width_list, prune.inner_ratio)
        student = prune_width(student, config, prune.channels, images(), seed=params.seed)
    gain = recalibrate(student, images()) if prune.recalibrate else {}
    save_model(student.cpu(), OUT)
    rows = [asdict(b) | {"block": b.name} for b in blocks]
    write_table(["block", "output_change", "stream_change", "psnr_loss_db"], rows, PLOT)
    chosen = summary(teacher.config, student.config, kept, blocks)
    write_metrics(chosen | {"recalibration": gain}, METRICS)
    print(student.config.name, chosen["kept"], *(f"{k} {v:.2f}" for k, v in gain.items()))


if __name__ == "__main__":
    with one_line_errors():
        main()
