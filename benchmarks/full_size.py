"""Do the presets of the full size run? Each on random weights of its whole architecture.

    python -m benchmarks.full_size [PRESET ...]

A preset's student is pruned and repaired, trained for one step on one crop, saved, read back and
decoded, on photos of 256 px: minutes for each preset on a CPU. This says nothing of quality. Run
`dvc repro` first: photos and networks are the pipeline's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer
import yaml

from benchmarks.models import random_model
from dcde.base.devices import best_device
from dcde.params.pipeline import Params
from dcde.params.file import validate
from dcde.base.paths import LPIPS, MANIFEST, PARAMS, PRESETS
from dcde.commands.preset import merge, preset_names, preset_row, read_preset
from dcde.data.crops import load_images
from dcde.data.folder import Photo
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.distill.distill import distill
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAEConfig, zoo_config
from dcde.model.checkpoint import read_model, save_model
from dcde.prune.prune import prune
from dcde.report.tables import markdown_table

SIZE = 256
ONE_STEP = {
    "epochs": 1,
    "samples_per_epoch": 1,
    "batch_size": 1,
    "precision": "fp32",
    "compile": False,
    "dynamic_loss": False,
    "validation_photos": 0,
    "crops": {"image_size": SIZE, "short_side": [SIZE, SIZE], "flip": False},
}
"""Changes of `distill`."""


def main(
    preset: Annotated[list[str] | None, typer.Argument(help="Some of the presets.")] = None,
) -> None:
    rows: list[dict[str, str]] = []
    photos = Manifest.load(MANIFEST).train
    for name in preset or [n for n in preset_names(PRESETS) if not n.startswith("tiny")]:
        teacher = preset_row(PRESETS, name).teacher
        settings = merge(yaml.safe_load(PARAMS.read_text()), read_preset(PRESETS, name))
        params = one_step(settings, where=name)
        rows.append({"preset": name, **run(params, zoo_config(teacher), photos, LPIPS)})
        print(markdown_table([list(rows[0]), *(list(row.values()) for row in rows)]))


def one_step(settings: Mapping[str, Any], *, where: str) -> Params:
    """The parameters, but for how long they train, and on as many pixels as a larger size has."""
    prune, size = settings["prune"], settings["data"]["eval_size"]
    photos = prune["calibration_images"] * max(1, size // SIZE) ** 2
    changes = {"distill": ONE_STEP, "prune": {"calibration_images": photos}}
    return validate(merge(settings, changes), Params, where=where)


def run(
    params: Params, config: DCAEConfig, photos: Sequence[Photo], lpips_weights: Path
) -> dict[str, str]:
    """Prune, repair, train, save, read back, decode; how long it took.

    Raises:
        AssertionError: if the model that was read back decodes something else, or not numbers.
    """
    teacher, device = random_model(config), best_device()
    images = load_images(spread(photos, params.prune.calibration_images), SIZE).to(device)
    began = time.monotonic()
    student = prune(
        teacher,
        params.prune,
        images=lambda: images,
        lpips_metric=lambda: load_lpips(lpips_weights).to(device),
        seed=params.seed,
        device=device,
    ).student
    pruned = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        distill(
            student,
            teacher,
            tuple(photos),
            params,
            lpips_weights=lpips_weights,
            state_dir=Path(folder, "state"),
            cache_dir=Path(folder, "latents"),
            on_epoch=lambda epoch, model: None,
        )
        trained = time.monotonic()
        save_model(student.cpu(), Path(folder, "student"))
        again = read_model(Path(folder, "student"))
    side = SIZE // config.downsampling
    latent = torch.randn(1, config.latent_channels, side, side)
    with torch.no_grad():
        image = student.decode(latent)
        assert image.isfinite().all() and image.std() > 0
        torch.testing.assert_close(again.decode(latent), image, rtol=1e-4, atol=1e-4)
    return {
        "prune s": f"{pruned - began:.0f}",
        "one step s": f"{trained - pruned:.0f}",
        "GB in use at the end": f"{psutil.Process().memory_info().rss / 1e9:.1f}",
    }


if __name__ == "__main__":
    typer.run(main)
