"""A whole small evaluation as a process of its own, for tests that start several of it.

python -m tests.helpers.eval_run PHOTO_FOLDER STATE_FOLDER OUT_JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from dcde.base.processes import process_state, shared_run
from dcde.data.check import check_images
from dcde.data.crops import eval_crops
from dcde.data.folder import list_images
from dcde.evaluate import evaluate as evaluation
from dcde.model import DCAE
from tests.helpers.quick_metrics import MeanDistance, pooled
from tests.helpers.tiny import randomize, tiny_config

if __name__ == "__main__":
    photo_folder, folder, out = map(Path, sys.argv[1:])
    evaluation.SHARD_IMAGES = 4
    model = DCAE(tiny_config())
    randomize(model)
    photos = check_images(list_images(photo_folder))
    with shared_run(folder / "state"):
        result = evaluation.evaluate(
            {"teacher": model.eval()},
            [c for photo in photos for c in eval_crops(photo, 32, 4)][:18],
            lpips_metric=MeanDistance(),
            networks=[pooled()],
            batch_size=3,
            workers=0,
            device=torch.device("cpu"),
            state_dir=folder / "state",
        )
        if result is not None:
            values = {name: column.tolist() for name, column in result.values["teacher"].items()}
            processes = process_state().num_processes
            out.write_text(json.dumps({**result.scores, "values": values, "processes": processes}))
