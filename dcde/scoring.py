"""Scores of models from anywhere, each with its own encoder, on the same crops."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dcde.data import Crop, Manifest, check_images, eval_crops, list_images
from dcde.devices import best_device
from dcde.errors import UserError
from dcde.evaluation import evaluate
from dcde.frechet import inception_network, lite0_network
from dcde.lite0 import LITE0
from dcde.model import DCAE
from dcde.networks import find_inception, find_networks
from dcde.perceptual import LPIPS_ALEX, load_lpips
from dcde.runstate import work_dir

MANIFEST = Path("data/photos/manifest.json")


def crops_to_score(images: Path | None, size: int) -> Sequence[Crop]:
    """The pipeline's evaluation crops, or the centre crop of `size` pixels of a folder's images.

    Raises:
        UserError: if there are none.
    """
    if images is None:
        return Manifest.load(MANIFEST).eval
    return [eval_crops(p, size, 1)[0] for p in check_images(list_images(images), "skip")]


def score_models(
    models: Mapping[str, DCAE], crops: Sequence[Crop], *, fid: bool, batch_size: int
) -> dict[str, dict[str, float]]:
    """The eval stage's scores for each model, by name.

    Raises:
        UserError: before any work, if a model can't encode these crops or weights are missing.
    """
    for name, model in models.items():
        f = model.config.downsampling
        if crops[0].size % f:
            raise UserError(
                f"{name}: found crops of {crops[0].size} pixels, expected a multiple of {f}"
            )
    folder = find_networks()
    lpips_metric = load_lpips(folder / LPIPS_ALEX)
    networks = [lite0_network(folder / LITE0)]
    if fid:
        networks.append(inception_network(find_inception(), None, crops[0].size))
    scores: dict[str, dict[str, float]] = {}
    for name, model in models.items():  # one at a time: `evaluate` shares the first's encoder
        with tempfile.TemporaryDirectory() as state_dir:
            result = evaluate(
                {"model": model},
                crops,
                lpips_metric=lpips_metric,
                networks=networks,
                batch_size=batch_size,
                workers=0,
                device=best_device(),
                state_dir=Path(state_dir),
                cache_dir=work_dir() / "references",
            )
        assert result is not None  # this is the only process
        scores[name] = result.scores["model"]
        model.cpu()
    return scores
