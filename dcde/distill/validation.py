"""How good the student is after each epoch, and which epoch's student is kept.

Measured on crops of training photos that are held out: neither trained on, nor the ones that
`eval` reports. An epoch chosen for being the best on those would look better there than it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dcde.base.files import whole_file
from dcde.distill.latents import LatentDataset
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from dcde.train.learner import Batch
from dcde.train.scores import mean_scores

BEST, LAST = "best", "last"
"""Folders of the kept students; the first epoch of the lowest LPIPS is the best."""


class Validation:
    """Mean PSNR and LPIPS of a student's pictures, rounded as they would be saved.

    Args:
        crops: with the teacher's latents.
        encode: whether the student has an encoder, and so latents, of its own.
    """

    def __init__(
        self, crops: LatentDataset, lpips_metric: nn.Module, batch_size: int, *, encode: bool
    ) -> None:
        self.crops, self.lpips_metric = crops, lpips_metric
        self.batch_size, self.encode = batch_size, encode

    def __call__(self, student: DCAE) -> dict[str, float]:
        def reconstruct(batch: Batch) -> Tensor:
            return student.decode(
                student.encode(batch["image"]) if self.encode else batch["latent"]
            )

        return mean_scores(reconstruct, self.crops, self.lpips_metric, self.batch_size)


def keep_student(student: DCAE, scores: Mapping[str, float], folder: Path) -> None:
    """Keep it as the last one, and as the best if its LPIPS is below that of every one before."""
    save_model(student, folder / LAST)
    record = folder / "best.json"
    before = json.loads(record.read_text())["lpips"] if record.is_file() else float("inf")
    if scores and scores["lpips"] < before:
        save_model(student, folder / BEST)
        with whole_file(record) as partial:
            partial.write_text(json.dumps(scores))
