"""Make the student: the teacher with fewer blocks in its decoder, or narrower ones."""

from functools import cache

from torch import Tensor, nn

from dcde.base.devices import best_device
from dcde.base.errors import one_line_errors
from dcde.base.paths import LPIPS, MANIFEST, PARAMS, PRUNE_METRICS, PRUNE_PLOTS, PRUNED, TEACHER
from dcde.base.results import write_metrics, write_table
from dcde.base.say import say, told
from dcde.data.crops import load_images
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.metrics.lpips import load_lpips
from dcde.model.checkpoint import save_model
from dcde.model.costs import decoder_macs_share
from dcde.model.sources import read_made, record_source
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from dcde.prune.prune import INFLUENCE_COLUMNS, influence_table, prune, stage_table


def main() -> None:
    params = load_params(PARAMS, Params)
    how, device = params.prune, best_device()

    @cache
    def images() -> Tensor:
        photos = spread(Manifest.load(MANIFEST).train, how.calibration_images)
        return load_images(photos, params.data.eval_size).to(device)

    @cache
    def lpips_metric() -> nn.Module:
        return load_lpips(LPIPS).to(device)

    teacher = read_made(TEACHER)
    teacher.config.check_image_size("data.eval_size", params.data.eval_size)
    student = f"{how.start}, taken as it is" if how.start else teacher.config.name
    say(f"{student}, measured on up to {how.calibration_images} photos")
    pruning = prune(
        teacher, how, images=images, lpips_metric=lpips_metric, seed=params.seed, device=device
    )
    save_model(pruning.student, PRUNED)
    if how.start is not None:
        record_source(how.start, "prune.start", "prune", PRUNED)
    stages = stage_table(teacher.config, pruning)
    write_table(stages, PRUNE_PLOTS / "stages.csv")
    write_table(influence_table(pruning.blocks), PRUNE_PLOTS / "influence.csv", INFLUENCE_COLUMNS)
    share = decoder_macs_share(teacher.config, pruning.student.config)
    write_metrics({"decoder_macs_share": share, **pruning.scores}, PRUNE_METRICS)
    for row in stages:
        blocks = row["kept_blocks"] or row["blocks"] or "-"
        say(f"stage {row['stage']}: blocks {blocks}, width {row['width']}")


if __name__ == "__main__":
    with one_line_errors(), told("prune"):
        main()
