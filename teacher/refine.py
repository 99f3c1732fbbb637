"""Phases 2 and 3: the decoder alone, from cached latents; at last with PatchGAN."""

import sys
from pathlib import Path

from dcde.base.errors import one_line_errors
from dcde.base.params_file import load_params
from dcde.base.paths import LPIPS
from dcde.base.work import stage_key, work_dir
from dcde.data.folder import check_images, list_images
from dcde.distill.distill import distill
from dcde.model.checkpoint import read_model
from dcde.train.run_state import finish_run
from teacher.params import TeacherTrainParams
from teacher.paths import DECODER, PARAMS, PIPELINE, PLOTS, REFINED, TRAINED

STARTS = {"decoder": TRAINED, "refine": DECODER}
ENDS = {"decoder": DECODER, "refine": REFINED}


def main(phase: str) -> None:
    params = load_params(PARAMS, TeacherTrainParams)
    photos = check_images(list_images(Path(params.data.train)), params.data.on_bad_image)
    state_dir = work_dir() / "teacher" / stage_key(phase, PIPELINE)
    model = read_model(STARTS[phase])
    distill(
        model,
        read_model(STARTS[phase]),
        tuple(photos),
        params.recipe(getattr(params, phase)),
        lpips_weights=LPIPS,
        state_dir=state_dir,
        cache_dir=work_dir() / "latents",
        on_epoch=lambda epoch, model: None,
    )
    finish_run(model, ENDS[phase], state_dir, {"live": PLOTS / phase})


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1])
