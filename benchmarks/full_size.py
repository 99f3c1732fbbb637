"""Do the full-size presets run? Each runs on random weights of its whole architecture.

    python -m benchmarks.full_size [PRESET ...]

A preset's student is pruned and repaired, trained for one step, exported to diffusers' layout, read
back and decoded, on pictures of 256 px: ten minutes for a preset on two cores. This says nothing
about quality.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file

from benchmarks.pipeline import params_with, pruned
from benchmarks.setting import Setting, random_pictures, table
from dcde.base.paths import PRESETS
from dcde.commands.preset import preset_names
from dcde.data.crops import load_images
from dcde.data.folder import Photo
from dcde.distill.distill import distill
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.params.pipeline import Params
from dcde.profile.latency import peak_memory_mib

SIZE = 256
ONE_STEP = {
    "distill.epochs": 1,
    "distill.samples_per_epoch": 1,
    "distill.batch_size": 1,
    "distill.precision": "fp32",
    "distill.compile": False,
    "distill.dynamic_loss": False,
    "distill.validation_photos": 0,
}


def main(
    preset: Annotated[list[str] | None, typer.Argument(help="Some of the presets.")] = None,
) -> None:
    full_size = [
        name
        for name in preset_names(PRESETS)
        if not params_with({}, name).teacher.source.startswith("bundled:")
    ]
    rows = measure(Setting(Path()), preset or full_size)["rows"]
    print(table(rows, list(rows[0])))


def measure(
    setting: Setting, presets: Sequence[str] = ("in-6x", "in-3x", "sana-4x")
) -> dict[str, Any]:
    """Return a row for each preset."""
    return {
        "rows": [
            {"preset": preset, **run(setting, preset, one_step(setting, preset))}
            for preset in presets
            if setting.has_time(preset)
        ]
    }


def one_step(setting: Setting, preset: str) -> Params:
    """Return the preset's parameters for one step, with cuts that thin models have room for."""
    params = params_with(ONE_STEP, preset)
    # Smaller pictures, so more of them, for as many pixels to fit convolutions on.
    changes: dict[str, Any] = {"prune.calibration_images": 4 * params.prune.calibration_images}
    side = 64 if setting.smoke else SIZE
    if setting.smoke:
        thin = setting.config(preset).decoder
        width_list = thin.widths if params.prune.width_list else None
        changes = {
            "prune.calibration_images": 16,
            "prune.depth_list": thin.depths,
            "prune.width_list": width_list,
        }
    crops = {"distill.crops": {"image_size": side, "short_side": [side, side]}}
    return params_with({**ONE_STEP, **changes, **crops}, preset)


def run(setting: Setting, preset: str, params: Params) -> dict[str, float | None]:
    """Prune, repair, train, export, read back and decode; return times and memory.

    Raises:
        AssertionError: if the model read back decodes differently, or not to finite numbers.
    """
    teacher, lpips = setting.teacher_of(preset), untrained_lpips()
    students: list[DCAE] = []
    with tempfile.TemporaryDirectory() as name:
        folder, side = Path(name), params.distill.crops.image_size
        paths = random_pictures(folder / "photos", params.prune.calibration_images, side)
        photos = tuple(Photo(str(path), side, side) for path in paths)
        images = load_images(photos, side)
        lpips_weights = folder / "lpips.safetensors"
        save_file({key: value.clone() for key, value in lpips.state_dict().items()}, lpips_weights)
        began = time.monotonic()
        peak = peak_memory_mib(
            lambda: students.append(
                pruned(teacher, params.prune, images, lpips, device=setting.device)
            ),
            setting.device,
        )
        middle = time.monotonic()
        distill(
            students[0],
            teacher,
            photos,
            params,
            lpips_weights=lpips_weights,
            state_dir=folder / "state",
            cache_dir=folder / "latents",
            on_epoch=lambda epoch, model: None,
        )
        student = students[0].cpu()
        end = time.monotonic()
        save_model(student, folder / "student", "diffusers")
        again = read_model(folder / "student")
    with torch.no_grad():
        image = student.decode(latent := student.encode(images[:1].cpu()))
        assert image.isfinite().all() and image.std() > 0
        torch.testing.assert_close(again.decode(latent), image, rtol=1e-4, atol=1e-4)
    return {"prune_s": middle - began, "prune_peak_mib": peak, "one_step_s": end - middle}


if __name__ == "__main__":
    typer.run(main)
