"""A whole small distillation as a process of its own, for tests that kill it.

python tests/distill_run.py STATE_DIR CACHE_DIR OUT PHOTO_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from conftest import randomize, tiny_config

from dcde.checkpoint import save_model
from dcde.config import (
    CropParams,
    DistillParams,
    GanParams,
    OptimizerParams,
    RuntimeParams,
)
from dcde.data import Photo, check_images, list_images
from dcde.distill import distill
from dcde.errors import one_line_errors
from dcde.model import DCAE
from dcde.pruning import prune_depth

OPTIMIZER = OptimizerParams(
    lr=1e-3, weight_decay=0.01, cosine_t0=2, cosine_t_mult=1, eta_min=1e-6, warmup_steps=0
)
LOSS = {"feature": 1.0, "image": 1.0, "gamma": 0.1}


def distill_params(**changes: Any) -> DistillParams:
    values = {
        "epochs": 3,
        "samples_per_epoch": 80,
        "batch_size": 4,
        "accumulation_steps": 1,
        "precision": "fp32",
        "compile": False,
        "ema": 0.9,
        "grad_clip": 1.0,
        "max_bad_steps": 0,
        "crops": CropParams(image_size=32, short_side=(32, 64), flip=True),
        "crops_per_image": 4,
        "tap": 3,
        "freeze_project_out": True,
        "dynamic_loss": True,
        "division_epoch": 1,
        "shallow_epochs": 0,
        "shallow_stages": None,
        "checkpoint_activations": False,
        "validation_photos": 0,
        "select": "last",
    }
    return DistillParams.model_validate(values | changes)


def models() -> tuple[DCAE, DCAE]:
    """A teacher of random weights and its pruned student."""
    teacher = DCAE(tiny_config())
    randomize(teacher)
    return teacher, prune_depth(teacher, ((), (0,), (0,), (0,)))


def run_distill(
    photos: tuple[Photo, ...],
    folder: Path,
    *,
    loss: dict[str, float] | None = None,
    gan_ratio: int = 10,
    cache_dir: Path | None = None,
    **changes: Any,
) -> tuple[DCAE, DCAE]:
    """Distil the small student; return teacher and student."""
    teacher, student = models()
    distill(
        student,
        teacher,
        photos,
        params=distill_params(**changes),
        loss=LOSS if loss is None else loss,
        gan=GanParams(ratio=gan_ratio, loss="bce", norm="batch"),
        optimizer=OPTIMIZER,
        optimizer_d=OPTIMIZER,
        runtime=RuntimeParams(workers=0, log_every=1, save_minutes=1e-6),
        seed=0,
        lpips_weights=Path("none"),
        teacher_sha256="random",
        state_dir=folder,
        cache_dir=cache_dir or folder / "latents",
        on_epoch=lambda epoch, model: None,
    )
    return teacher, student


if __name__ == "__main__":
    state_dir, cache_dir, out, photo_folder = map(Path, sys.argv[1:])
    with one_line_errors():
        found = tuple(check_images(list_images(photo_folder), "refuse"))
        _, trained = run_distill(found, state_dir, cache_dir=cache_dir)
        save_model(trained, out)
