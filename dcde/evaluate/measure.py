"""Measure pictures: each model's reconstructions against the originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from dcde.base.devices import channels_last
from dcde.data.pixels import to_model_range, to_uint8
from dcde.metrics.frechet import FrechetNetwork
from dcde.metrics.pictures import psnr_db, ssim
from dcde.model import DCAE
from dcde.model.shared_encoders import SharedEncoders

IMAGE_SCORES = ("psnr_db", "ssim", "lpips")
"""Scores of single pictures, which are averaged."""
ORIGINAL = ""
"""The originals' name among those of the models."""
Rows = dict[str, np.ndarray]
"""`<model>/<score or network>` to an array with a row for each picture."""


class Measure:
    """Turn pictures into rows of scores and features."""

    def __init__(
        self,
        models: Mapping[str, DCAE],
        lpips_metric: nn.Module,
        networks: Sequence[FrechetNetwork],
        device: torch.device,
    ) -> None:
        for module in (*models.values(), lpips_metric, *(n.module for n in networks)):
            channels_last(module, device)
        self.models, self.lpips_metric, self.networks = models, lpips_metric, networks
        self.device, self.encode = device, SharedEncoders(models)

    def __call__(self, pixels: Tensor, pool: ThreadPoolExecutor) -> Callable[[], Rows]:
        """Measure (B, 3, H, W) uint8; return a function that waits for the rest of the work.

        Args:
            pool: computes PSNR and SSIM, for which scikit-image needs a core, not the device.
        """
        on_device: dict[str, Tensor] = {}
        on_cores: dict[str, list[Future[float]]] = {}
        originals = _pictures(pixels)
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        image = to_model_range(pixels)
        latents = self.encode(image)
        for network in self.networks:
            if network.reference is None:
                on_device[f"{ORIGINAL}/{network.name}"] = network.module(image)
        for name, model in self.models.items():
            decoded = to_uint8(model.decode(latents[name]))
            pictures, rounded = _pictures(decoded), to_model_range(decoded)
            for score, function in (("psnr_db", psnr_db), ("ssim", ssim)):
                pairs = zip(pictures, originals, strict=True)
                on_cores[f"{name}/{score}"] = [pool.submit(function, *pair) for pair in pairs]
            on_device[f"{name}/lpips"] = self.lpips_metric(rounded, image).flatten().double()
            for network in self.networks:
                on_device[f"{name}/{network.name}"] = network.module(rounded)

        def finish() -> Rows:
            rows = {key: tensor.cpu().numpy() for key, tensor in on_device.items()}
            return rows | {k: np.array([f.result() for f in fs]) for k, fs in on_cores.items()}

        return finish


def _pictures(pixels: Tensor) -> np.ndarray:
    """Turn (B, 3, H, W) into (B, H, W, 3), as scikit-image takes them."""
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
