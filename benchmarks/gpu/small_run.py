"""A small distillation in a process of its own: one that is killed, or two that share a device.

    python -m benchmarks.gpu.small_run FOLDER

FOLDER has photos/ and gets state/ while it runs and student/ at its end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from benchmarks.gpu.setting import Setting
from benchmarks.recipe import of_preset
from dcde.base.devices import best_device
from dcde.base.processes import process_state, shared_run
from dcde.data.folder import check_images, list_images
from dcde.distill.distill import distill
from dcde.model.checkpoint import save_model

CHANGES = {
    "distill": {
        "epochs": 2,
        "division_epoch": 1,
        "samples_per_epoch": 20,
        "crops_per_image": 4,
        "validation_photos": 0,
        "crops": {"image_size": 64, "short_side": [64, 64], "flip": True},
    },
    "loss": {"lpips": 0.0},  # its trained weights need not be at hand
    "gan": {"ratio": 10},
    # AdamW's first steps are as large whatever the gradient, so that a large rate shows rounding.
    "optimizer": {"lr": 1e-5},
    "optimizer_d": {"lr": 1e-5},
    "runtime": {"save_minutes": 1e-6, "log_every": 1, "workers": 0},
}


def main(folder: Path) -> None:
    if "RANK" in os.environ:  # NCCL refuses two processes on one GPU
        torch.distributed.init_process_group("gloo")
    setting = Setting(best_device(), folder, 0, smoke=True)
    teacher, student = setting.model("f32c32-in"), setting.model("w4-v3")
    state_dir = folder / "state"
    with shared_run(state_dir):
        distill(
            student,
            teacher,
            tuple(check_images(list_images(folder / "photos"), "refuse")),
            of_preset("w4-v25", CHANGES),
            lpips_weights=Path("none"),
            state_dir=state_dir,
            cache_dir=state_dir / "latents",
            on_epoch=lambda epoch, model: None,
        )
        if process_state().is_main_process:
            save_model(student, folder / "student")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
