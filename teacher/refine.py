"""Phase 2: the decoder alone against PatchGAN, from cached latents."""

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
TRAINED, OUT = Path("teacher/models/trained"), Path("teacher/models/refined")
KEPT = {"live": Path("teacher/plots/refine")}


def main() -> None:
    params = load_params(Path("teacher/params.yaml"), TeacherTrainParams)
    photos = check_images(list_images(Path(params.data.train)), params.data.on_bad_image)
    model = load_model(TRAINED)
    settings = params.model_dump(mode="json", exclude={"runtime"})
    code = sorted(Path("dcde").rglob("*.py"))
    state_dir = work_dir() / "teacher" / run_key(settings, [TRAINED / WEIGHTS, *code])
    distill(
        model,
        load_model(TRAINED),
        tuple(photos),
        params=params.refine,
        loss=params.refine_loss,
        gan=params.gan,
        optimizer=params.refine_optimizer,
        optimizer_d=params.optimizer_d,
        runtime=params.runtime,
        seed=params.seed,
        lpips_weights=LPIPS,
        teacher_sha256=sha256_of(TRAINED / WEIGHTS),
        state_dir=state_dir,
        cache_dir=work_dir() / "latents",
        on_epoch=lambda epoch, model: None,
    )
    finish_run(model, OUT, state_dir, KEPT)


if __name__ == "__main__":
    with one_line_errors():
        main()
