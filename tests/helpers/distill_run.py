"""A whole small distillation, in this process or, for tests that kill it, in one of its own.

python -m tests.helpers.distill_run STATE_DIR CACHE_DIR OUT PHOTO_FOLDER [ARGUMENTS AS JSON]

"{rank}" in STATE_DIR is the number of the process, so that each can have a disk of its own.
"""

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dcde.base.errors import one_line_errors
from dcde.base.processes import make_accelerator, process_state, shared_run
from dcde.data.check import check_images
from dcde.data.folder import Photo, list_images
from dcde.distill.distill import distill
from dcde.distill.task import DistillTask
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from dcde.params.pipeline import DistillParams, LossParams, Params
from dcde.params.training import CropParams, GanParams, LossWeights, OptimizerParams, RuntimeParams
from dcde.prune.cut_blocks import cut_blocks
from dcde.prune.cut_channels import narrow as cut_narrow
from dcde.prune.shape import narrower_config
from dcde.train import trainer
from dcde.train.learner import Batch, Learner, build_learner
from tests.helpers.tiny import random_model, tiny_config

OPTIMIZER = OptimizerParams(cosine_t0=2)
LOSS = {"feature": 1.0, "image": 1.0}
GAN_LOSS = LOSS | {"gamma": 0.1}
CROPS = CropParams(image_size=32, short_side=(32, 64))


def loss_params(terms: dict[str, float]) -> LossParams:
    """A loss of these terms alone."""
    return LossParams.model_validate(dict.fromkeys(LossParams.model_fields, 0.0) | terms)


def distill_params(**changes: Any) -> DistillParams:
    values = {
        "epochs": 2,
        "samples_per_epoch": 40,
        "ema": 0.9,
        "crops": CROPS,
        "crops_per_image": 4,
        "division_epoch": 1,
        "validation_photos": 0,
    }
    return DistillParams.model_validate(values | changes)


def models(norm: Literal["bn2d", "trms2d"] = "bn2d", *, narrow: bool = False) -> tuple[DCAE, DCAE]:
    """A teacher of random weights and its pruned student, of fewer blocks or of fewer channels."""
    teacher = random_model(tiny_config(norm=norm)).train()
    if not narrow:
        return teacher, cut_blocks(teacher, ((), (0,), (0,), (0,)))
    config = narrower_config(teacher.config, (4, 4, 8, 32), None)
    student, _ = cut_narrow(
        teacher.eval(), config, "direct", [teacher.encode(torch.zeros(1, 3, 32, 32))], seed=0
    )
    return teacher, student


def recipe(
    *,
    loss: dict[str, float] | LossWeights | None = None,
    gan_ratio: int = 10,
    optimizer: dict[str, Any] | None = None,
    workers: int = 0,
    **changes: Any,
) -> Params:
    """The small run's parameters with changes."""
    terms = LOSS if loss is None else loss
    return Params().model_copy(
        update={
            "distill": distill_params(**changes),
            "loss": terms if isinstance(terms, LossWeights) else loss_params(terms),
            "gan": GanParams(ratio=gan_ratio),
            "optimizer": OPTIMIZER.model_copy(update=optimizer or {}),
            "optimizer_d": OPTIMIZER,
            "runtime": RuntimeParams(workers=workers),
        }
    )


def run_distill(
    photos: tuple[Photo, ...],
    folder: Path,
    *,
    norm: Literal["bn2d", "trms2d"] = "bn2d",
    narrow: bool = False,
    cache_dir: Path | None = None,
    lpips_weights: str = "none",
    on_epoch: Callable[[int, DCAE], None] = lambda epoch, model: None,
    pair: tuple[DCAE, DCAE] | None = None,
    **changes: Any,
) -> tuple[DCAE, DCAE]:
    """Distil the small student by `recipe(**changes)`; return teacher and student."""
    teacher, student = pair or models(norm, narrow=narrow)
    distill(
        student,
        teacher,
        photos,
        recipe(**changes),
        lpips_weights=Path(lpips_weights),
        state_dir=folder,
        cache_dir=cache_dir or folder / "latents",
        on_epoch=on_epoch,
    )
    return teacher, student


def learner(
    loss: dict[str, float], *, grad_clip: float = 0.0, **changes: Any
) -> tuple[Learner, Batch]:
    """What takes the small run's steps, and a batch of two."""
    teacher, student = models()
    student.requires_grad_(False).decoder.requires_grad_(True)
    made = build_learner(
        DistillTask(student.decoder, teacher.decoder, "act"),
        loss_params(loss),
        distill_params(**changes),
        OPTIMIZER,
        make_accelerator("fp32"),
        lpips_metric=nn.Identity,
        gan=(10, "bce", OPTIMIZER),
        seed=0,
        grad_clip=grad_clip,
    )
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    return made, {"pixels": pixels, "latent": torch.randn(2, 4, 4, 4)}


def curve(folder: Path, name: str) -> dict[int, float]:
    """Step to value of a curve that the run in `folder` has logged."""
    with (folder / f"live/plots/metrics/{name}.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    values = {int(row["step"]): float(row[name.rpartition("/")[2]]) for row in rows}
    assert len(values) == len(rows), f"{name}: a step was logged twice"
    return values


def curve_names(folder: Path) -> set[str]:
    root = folder / "live/plots/metrics"
    return {str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.tsv")}


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether all tensors are equal to the last bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


if __name__ == "__main__":
    trainer.SAVING_SHARE = float("inf")  # save after every step
    state_dir, cache_dir, out, photo_folder = map(Path, sys.argv[1:5])
    arguments = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    state_dir = Path(str(state_dir).format(rank=os.environ.get("RANK", 0)))
    with one_line_errors(), shared_run(state_dir):
        found = tuple(check_images(list_images(photo_folder)))
        _, trained = run_distill(found, state_dir, cache_dir=cache_dir, **arguments)
        if process_state().is_main_process:
            save_model(trained, out)
    # Processes that don't take leave are aborted now and then.
    assert not torch.distributed.is_initialized()
