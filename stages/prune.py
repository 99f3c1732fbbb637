"""Make the student: the teacher with fewer blocks in its decoder."""

from dataclasses import asdict
from pathlib import Path

from dcde.checkpoint import load_model, save_model
from dcde.choosing import choose_blocks, decoder_macs_share
from dcde.config import Params, load_params
from dcde.data import Manifest, load_images
from dcde.devices import best_device
from dcde.errors import one_line_errors
from dcde.influence import BlockInfluence, block_influence
from dcde.perceptual import LPIPS_ALEX, load_lpips
from dcde.pruning import prune_depth
from dcde.reports import write_metrics

TEACHER, OUT = Path("models/teacher"), Path("models/pruned")
MANIFEST, LPIPS = Path("data/photos/manifest.json"), Path("models/networks") / LPIPS_ALEX
METRICS = Path("metrics/prune.json")


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    prune = params.prune
    teacher = load_model(TEACHER)
    blocks: list[BlockInfluence] = []
    if prune.measures:
        device = best_device()
        photos = Manifest.load(MANIFEST).train[: prune.calibration_images]
        images = load_images(photos, params.data.eval_size).to(device)
        metric = load_lpips(LPIPS).to(device)
        blocks = block_influence(teacher.to(device), images, metric, batch_size=8)
        teacher.cpu()
    kept = choose_blocks(teacher.config, prune, blocks)
    student = prune_depth(
        teacher, kept, fresh_seed=params.seed if prune.method == "random" else None
    )
    save_model(student, OUT)
    depths = student.config.decoder.depths
    summary = {
        "depth_list": ",".join(map(str, depths)),
        "kept": {f"stage{i}": ",".join(map(str, places)) for i, places in enumerate(kept)},
        "decoder_macs_share": decoder_macs_share(teacher.config, depths),
        "blocks": {f"stage{b.stage}.{b.block}": asdict(b) for b in blocks},
    }
    write_metrics(summary, METRICS)
    print(f"{student.config.name}: kept {summary['kept']}")


if __name__ == "__main__":
    with one_line_errors():
        main()
