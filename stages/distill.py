"""Train the student to decode the teacher's latents as the teacher does."""

from dcde.base import paths
from dcde.base.errors import one_line_errors
from dcde.base.paths import LPIPS, MANIFEST, PARAMS, PRUNED, STUDENT, TEACHER
from dcde.base.processes import process_state, shared_run
from dcde.base.say import told
from dcde.base.work import stage_key, work_dir
from dcde.data.grid import reconstruction_grid, save_picture
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.distill.distill import distill
from dcde.model import DCAE
from dcde.model.sources import read_made
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from dcde.train.run_state import finish_run

KEPT = {"live": paths.DISTILL_PLOTS, "samples": paths.DISTILL_SAMPLES}
SHOWN = 4  # evaluation crops in each epoch's picture


def main() -> None:
    params = load_params(PARAMS, Params)
    state_dir = work_dir() / "distill" / stage_key("distill")
    manifest = Manifest.load(MANIFEST)
    teacher, student = read_made(TEACHER), read_made(PRUNED)
    shown = spread(manifest.eval, SHOWN)

    def show(epoch: int, model: DCAE) -> None:
        grid = reconstruction_grid({"teacher": teacher, "student": model}, shown)
        save_picture(grid, state_dir / f"samples/epoch_{epoch + 1:03d}.jpg")

    with shared_run(state_dir):
        distill(
            student,
            teacher,
            manifest.train,
            params,
            lpips_weights=LPIPS,
            state_dir=state_dir,
            cache_dir=work_dir() / "latents",
            on_epoch=show,
        )
        if process_state().is_main_process:
            finish_run(student, STUDENT, state_dir, KEPT)


if __name__ == "__main__":
    with one_line_errors(), told("distill"):
        main()
