"""Phase 1: encoder and decoder together, on fresh random crops in every epoch."""

from pathlib import Path

import torch

from dcde.base.errors import one_line_errors
from dcde.base.params_file import load_params
from dcde.base.paths import LPIPS
from dcde.base.processes import check_batch_size, make_accelerator
from dcde.base.work import stage_key, work_dir
from dcde.data.crops import CropDataset
from dcde.data.folder import check_images, list_images
from dcde.data.plan import EpochPlan
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE, zoo_config
from dcde.train.losses import build_terms
from dcde.train.run_state import finish_run
from dcde.train.trainer import Trainer
from teacher.autoencode import AutoencodeTask, quiet_branches
from teacher.params import TeacherTrainParams
from teacher.paths import PARAMS, PIPELINE, PLOTS, TRAINED

FRESH = 1_000_000  # crop numbers of a photo: so many that none comes twice


def main() -> None:
    params = load_params(PARAMS, TeacherTrainParams)
    train = params.train
    weights = params.loss.weights()
    photos = check_images(list_images(Path(params.data.train)), params.data.on_bad_image)
    accelerator = make_accelerator(train.precision)
    plan = EpochPlan(
        tuple(photos),
        train.crops,
        samples=train.samples_per_epoch or len(photos),
        crops_per_image=FRESH,
        seed=params.seed,
    )
    check_batch_size(train.batch_size, plan.samples, accelerator.num_processes)
    torch.manual_seed(params.seed)
    model = DCAE(zoo_config(params.model))
    quiet_branches(model)
    state_dir = work_dir() / "teacher" / stage_key("train", PIPELINE)
    Trainer(
        AutoencodeTask(model),
        accelerator=accelerator,
        terms=build_terms(weights, lambda: load_lpips(LPIPS).to(accelerator.device)),
        weights_at=lambda epoch: weights,
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
    finish_run(model, TRAINED, state_dir, {"live": PLOTS / "train"})


if __name__ == "__main__":
    with one_line_errors():
        main()
