"""The run of full-size presets, here on the bundled architecture and a preset's cuts."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmarks.full_size import one_step, run
from dcde.commands.preset import merge, read_preset
from dcde.data.folder import Photo
from dcde.metrics.lpips import LPIPS_ALEX
from dcde.model import zoo_config
from tests.helpers.tiny import ROOT


def test_a_narrow_preset_runs_on_random_weights(
    photo_list: tuple[Photo, ...], networks: Path
) -> None:
    settings = merge(
        yaml.safe_load((ROOT / "params.yaml").read_text()), read_preset(ROOT / "presets", "sana-4x")
    )
    settings["prune"] |= {
        "depth_list": [0, 1, 1, 1, 1],
        "width_list": [16, 32, 32, 64, 64],
        "inner_ratio": [1, 0.5, 0.5, 0.25, 0.25],
    }
    row = run(
        one_step(settings, where="test"),
        zoo_config("dc-ae-f16c16-photos"),
        photo_list,
        networks / LPIPS_ALEX,
    )
    assert list(row) == ["prune s", "one step s", "GB in use at the end"]
