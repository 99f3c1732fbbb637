"""Phases 2 and 3: the decoder alone, from cached latents; at last with PatchGAN."""

import sys
from pathlib import Path

from dcde.checkpoint import WEIGHTS, load_model
from dcde.data import check_images, list_images
from dcde.distill import distill
from dcde.errors import one_line_errors
from dcde.files import sha256_of
from dcde.paramsfile import load_params
from dcde.perceptual import LPIPS_ALEX
from dcde.runstate import finish_run, run_key, work_dir
from teacher.config import TeacherTrainParams

LPIPS = Path("models/networks") / LPIPS_ALEX
MODELS, PLOTS = Path("teacher/models"), Path("teacher/plots")
STARTS = {"decoder": MODELS / "trained", "refine": MODELS / "decoder"}
ENDS = {"decoder": MODELS / "decoder", "refine": MODELS / "refined"}


def main(phase: str) -> None:
    params = load_params(Path("teacher/params.yaml"), TeacherTrainParams)
    photos = check_images(list_images(Path(params.data.train)), params.data.on_bad_image)
    start, chosen = STARTS[phase], getattr(params, phase)
    model = load_model(start)
    settings = [phase, params.model_dump(mode="json", exclude={"runtime"})]
    code = sorted(Path("dcde").rglob("*.py"))
    state_dir = work_dir() / "teacher" / run_key(settings, [start / WEIGHTS, *code])
    distill(
        model,
        load_model(start),
        tuple(photos),
        params=chosen.train,
        loss=chosen.loss,
        gan=params.gan,
        optimizer=chosen.optimizer,
        optimizer_d=params.optimizer_d,
        runtime=params.runtime,
        seed=params.seed,
        lpips_weights=LPIPS,
        teacher_sha256=sha256_of(start / WEIGHTS),
        state_dir=state_dir,
        cache_dir=work_dir() / "latents",
        on_epoch=lambda epoch, model: None,
    )
    finish_run(model, ENDS[phase], state_dir, {"live": PLOTS / phase})


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1])
