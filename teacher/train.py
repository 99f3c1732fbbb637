"""Phase 1: encoder and decoder together, on fresh random crops in every epoch."""

from pathlib import Path

import torch

from dcde.autoencode import AutoencodeTask, quiet_branches
from dcde.data import CropDataset, EpochPlan, check_images, list_images
from dcde.errors import one_line_errors
from dcde.losses import DISTILL_ONLY, build_terms, check_weights
from dcde.model import DCAE, zoo_config
from dcde.paramsfile import load_params
from dcde.perceptual import LPIPS_ALEX
from dcde.processes import check_batch_size, make_accelerator
from dcde.runstate import finish_run, run_key, work_dir
from dcde.trainer import Trainer
from teacher.config import TeacherTrainParams

LPIPS = Path("models/networks") / LPIPS_ALEX
OUT, KEPT = Path("teacher/models/trained"), {"live": Path("teacher/plots/train")}
FRESH = 1_000_000  # crop numbers of a photo: so many that none comes twice


def main() -> None:
    params = load_params(Path("teacher/params.yaml"), TeacherTrainParams)
    train = params.train
    check_weights(params.loss, without=DISTILL_ONLY)
    photos = check_images(list_images(Path(params.data.train)), params.data.on_bad_image)
    accelerator = make_accelerator(train.precision)
    plan = EpochPlan(
        tuple(photos),
        train.crops,
        samples=train.samples_per_epoch or len(photos),
        crops_per_image=FRESH,
        seed=params.seed,
    )
    check_batch_size(train.batch_size, plan.samples, accelerator)
    torch.manual_seed(params.seed)
    model = DCAE(zoo_config(params.model))
    quiet_branches(model)
    settings = params.model_dump(mode="json", exclude={"runtime"})
    state_dir = work_dir() / "teacher" / run_key(settings, sorted(Path("dcde").rglob("*.py")))
    Trainer(
        AutoencodeTask(model),
        accelerator=accelerator,
        terms=build_terms(params.loss, LPIPS, accelerator.device),
        weights_at=lambda epoch: params.loss,
        plan=plan,
        dataset=CropDataset,
        train=train,
        optimizer=params.optimizer,
        adversary=None,
        runtime=params.runtime,
        state_dir=state_dir,
        seed=params.seed,
        on_epoch=lambda epoch, module: {},
    ).run()
    finish_run(model, OUT, state_dir, KEPT)


if __name__ == "__main__":
    with one_line_errors():
        main()
