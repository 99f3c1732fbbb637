"""Phase 1: encoder and decoder together, on fresh random crops in every epoch."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader

from dcde.autoencode import AutoencodeTask, quiet_branches
from dcde.config import TeacherTrainParams, load_params
from dcde.data import CropDataset, check_images, list_images, plan_epoch, random_crop
from dcde.errors import one_line_errors
from dcde.losses import build_terms, check_weights
from dcde.model import DCAE, zoo_config
from dcde.perceptual import LPIPS_ALEX
from dcde.runstate import finish_run, run_key, work_dir
from dcde.trainer import Batch, Trainer, make_accelerator

LPIPS = Path("models/networks") / LPIPS_ALEX
OUT, CURVES = Path("teacher/models/trained"), Path("teacher/plots/train")
FRESH = 1_000_000  # crop numbers of a photo: so many that none comes twice


def main() -> None:
    params = load_params(Path("teacher/params.yaml"), TeacherTrainParams)
    train = params.train
    check_weights(params.loss, ("image", "lpips", "latent", "activation"))
    photos = check_images(list_images(Path(params.data.train)), params.data.on_bad_image)
    samples = train.samples_per_epoch or len(photos)
    accelerator = make_accelerator(train.precision)

    def loader(epoch: int, skip: int) -> DataLoader[Batch]:
        plan = plan_epoch(len(photos), samples, FRESH, params.seed, epoch)
        crops = [
            random_crop(photos[p], train.crops, (params.seed, p, number))
            for p, number in plan[skip * train.batch_size :]
        ]
        workers = params.runtime.workers
        return DataLoader(CropDataset(crops), train.batch_size, num_workers=workers, drop_last=True)

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
        loader=loader,
        samples_per_epoch=samples,
        train=train,
        optimizer=params.optimizer,
        adversary=None,
        runtime=params.runtime,
        state_dir=state_dir,
        seed=params.seed,
        on_epoch=lambda epoch, module: None,
    ).run()
    finish_run(model, OUT, state_dir, CURVES)


if __name__ == "__main__":
    with one_line_errors():
        main()
