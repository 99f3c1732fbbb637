"""Phase 2: the decoder alone against PatchGAN, from cached latents."""

import copy
import shutil
from pathlib import Path

from dcde.checkpoint import WEIGHTS, load_model, save_model
from dcde.config import TeacherTrainParams, load_params
from dcde.data import check_images, list_images
from dcde.distill import DistillTask, latent_loader
from dcde.errors import one_line_errors
from dcde.files import sha256_of
from dcde.losses import build_terms, check_weights
from dcde.perceptual import LPIPS_ALEX
from dcde.runstate import run_key, work_dir
from dcde.trainer import Adversary, Trainer, make_accelerator

LPIPS = Path("models/networks") / LPIPS_ALEX
TRAINED, OUT = Path("teacher/models/trained"), Path("teacher/models/refined")
CURVES = Path("teacher/plots/refine")
CROPS_PER_IMAGE = 32


def main() -> None:
    params = load_params(Path("teacher/params.yaml"), TeacherTrainParams)
    train = params.refine
    check_weights(params.refine_loss, ("image", "lpips", "gamma"))
    photos = tuple(check_images(list_images(Path(params.data.train)), params.data.on_bad_image))
    samples = train.samples_per_epoch or len(photos)
    accelerator = make_accelerator(train.precision)
    model = load_model(TRAINED).to(accelerator.device)
    encoder = copy.deepcopy(model).requires_grad_(False)
    settings = params.model_dump(mode="json", exclude={"runtime"})
    code = sorted(Path("dcde").rglob("*.py"))
    state_dir = work_dir() / "teacher" / run_key(settings, [TRAINED / WEIGHTS, *code])
    Trainer(
        DistillTask(model, None, 0),
        accelerator=accelerator,
        terms=build_terms(params.refine_loss, LPIPS, accelerator.device),
        weights_at=lambda epoch: params.refine_loss,
        loader=latent_loader(
            encoder,
            photos,
            train.crops,
            crops_per_image=CROPS_PER_IMAGE,
            samples_per_epoch=samples,
            epochs=train.epochs,
            batch_size=train.batch_size,
            seed=params.seed,
            workers=params.runtime.workers,
            model_sha256=sha256_of(TRAINED / WEIGHTS),
            cache_dir=work_dir() / "latents",
        ),
        samples_per_epoch=samples,
        train=train,
        optimizer=params.refine_optimizer,
        adversary=Adversary(params.gan, params.optimizer_d),
        runtime=params.runtime,
        state_dir=state_dir,
        seed=params.seed,
        on_epoch=lambda epoch, module: None,
    ).run()
    save_model(model, OUT)
    shutil.copytree(state_dir / "live", CURVES)
    shutil.rmtree(state_dir)


if __name__ == "__main__":
    with one_line_errors():
        main()
