"""Train the student to decode the teacher's latents as the teacher does."""

from pathlib import Path

from accelerate import PartialState

from dcde.checkpoint import WEIGHTS, load_model
from dcde.config import Params
from dcde.data import Manifest, spread
from dcde.distill import distill
from dcde.errors import one_line_errors
from dcde.files import sha256_of
from dcde.paramsfile import load_params
from dcde.perceptual import LPIPS_ALEX
from dcde.reports import reconstruction_grid, save_picture
from dcde.runstate import finish_run, run_key, work_dir

TEACHER, PRUNED, OUT = Path("models/teacher"), Path("models/pruned"), Path("models/student")
MANIFEST, LPIPS = Path("data/photos/manifest.json"), Path("models/networks") / LPIPS_ALEX
KEPT = {"live": Path("plots/distill"), "samples": Path("plots/distill_samples")}
SECTIONS = ("seed", "distill", "loss", "gan", "optimizer", "optimizer_d")
SHOWN = 4  # evaluation crops in each epoch's picture


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    settings = params.model_dump(mode="json", include=set(SECTIONS))
    inputs = [TEACHER / WEIGHTS, PRUNED / WEIGHTS, MANIFEST, LPIPS]
    code = sorted(Path("dcde").rglob("*.py"))
    state_dir = work_dir() / "distill" / run_key(settings, inputs + code)
    manifest = Manifest.load(MANIFEST)
    teacher, student = load_model(TEACHER), load_model(PRUNED)
    shown = spread(manifest.eval, SHOWN)
    distill(
        student,
        teacher,
        manifest.train,
        params=params.distill,
        loss=params.loss,
        gan=params.gan,
        optimizer=params.optimizer,
        optimizer_d=params.optimizer_d,
        runtime=params.runtime,
        seed=params.seed,
        lpips_weights=LPIPS,
        teacher_sha256=sha256_of(TEACHER / WEIGHTS),
        state_dir=state_dir,
        cache_dir=work_dir() / "latents",
        on_epoch=lambda epoch, model: save_picture(
            reconstruction_grid({"teacher": teacher, "student": model}, shown),
            state_dir / f"samples/epoch_{epoch + 1:03d}.jpg",
        ),
    )
    if PartialState().is_main_process:
        finish_run(student, OUT, state_dir, KEPT)


if __name__ == "__main__":
    with one_line_errors():
        main()
