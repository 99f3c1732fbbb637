"""How good the student is after each epoch, and which epoch's student is kept.

Measured on crops of training photos that are held out: neither trained on, nor the ones that
`eval` reports. An epoch chosen for being the best on those would look better there than it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from dcde.base.files import whole_file
from dcde.data.pixels import to_model_range, to_uint8
from dcde.distill.latents import LatentDataset
from dcde.metrics.pictures import batch_psnr_db
from dcde.model import DCAE
from dcde.model.checkpoint import save_model

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

    @torch.inference_mode()
    def __call__(self, student: DCAE) -> dict[str, float]:
        device = next(student.parameters()).device
        sums = torch.zeros(2, device=device)
        for batch in DataLoader(self.crops, self.batch_size):
            pixels = to_model_range(batch["pixels"].to(device))
            latents = student.encode(pixels) if self.encode else batch["latent"].to(device)
            images = to_model_range(to_uint8(student.decode(latents)))
            scores = (batch_psnr_db(images, pixels), self.lpips_metric(images, pixels))
            sums += torch.stack([score.sum() for score in scores])
        psnr, lpips_mean = (sums / len(self.crops)).tolist()
        return {"psnr_db": psnr, "lpips": lpips_mean}


def keep_student(student: DCAE, scores: Mapping[str, float], folder: Path) -> None:
    """Keep it as the last one, and as the best if its LPIPS is below that of every one before."""
    save_model(student, folder / LAST)
    record = folder / "best.json"
    before = json.loads(record.read_text())["lpips"] if record.is_file() else float("inf")
    if scores and scores["lpips"] < before:
        save_model(student, folder / BEST)
        with whole_file(record) as partial:
            partial.write_text(json.dumps(scores))
