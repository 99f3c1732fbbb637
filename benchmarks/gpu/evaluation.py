"""How many images a second does evaluation score with all metrics?"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting, random_pictures
from dcde.base.paths import METRIC_NETWORKS
from dcde.data.crops import Crop
from dcde.evaluate.evaluate import evaluate
from dcde.metrics.lpips import untrained_lpips
from dcde.metrics.weights import frechet_networks

NAMES = ("f32c32-in", "w4-v3", "in-6x")


def measure(setting: Setting) -> dict[str, Any]:
    """Evaluate three models on random pictures."""
    count, side = (4, 64) if setting.smoke else (512, 512)
    models = {name: setting.model(name) for name in NAMES}
    networks = (
        frechet_networks(METRIC_NETWORKS, fid=False, resolution=side)
        if METRIC_NETWORKS.is_dir()
        else []
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = random_pictures(Path(folder) / "pictures", count, side)
        crops = [Crop(str(path), side, 0, 0, side) for path in paths]
        began = time.monotonic()
        evaluate(
            models,
            crops,
            lpips_metric=untrained_lpips().to(setting.device),
            networks=networks,
            batch_size=8,
            workers=0 if setting.smoke else 8,
            device=setting.device,
            state_dir=Path(folder) / "state",
        )
        seconds = time.monotonic() - began
    return {"images": count, "models": len(models), "images_per_s": count / seconds}
