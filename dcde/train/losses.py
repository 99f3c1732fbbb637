"""The terms of the training loss.

To add a term, write its function here, add it to `build_terms`, declare its default weight and its
needs in `dcde.params.pipeline.LossParams`, and add its weight to params.yaml.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcde.params.training import LossWeights


@dataclass(frozen=True)
class Prediction:
    """The results of a training step's forward pass. Images (B, 3, H, W) in [-1, 1]."""

    image: Tensor
    target: Tensor
    feature: Tensor | None = None
    """The student's feature at the tap, (B, C, h, w)."""
    teacher_feature: Tensor | None = None
    latent: Tensor | None = None
    activations: tuple[Tensor, ...] = ()
    """The residual stream after each stage of the decoder."""
    teacher_activations: tuple[Tensor, ...] = ()
    """The teacher's residual stream, in the same shapes."""
    teacher_image: Tensor | None = None


Term = Callable[[Prediction], Tensor]


def feature_l1(prediction: Prediction) -> Tensor:
    """Return mean |student - teacher| at the feature tap."""
    assert prediction.feature is not None and prediction.teacher_feature is not None
    return F.l1_loss(prediction.feature.float(), prediction.teacher_feature.float())


def stream_l1(prediction: Prediction) -> Tensor:
    """Return mean |student - teacher| / mean |teacher| of the residual stream after each stage,
    averaged over images and stages.

    The ratio makes each stage count the same, whatever the scale of its features. It is taken per
    image, so that sharing a batch among processes changes nothing.
    """
    pairs = zip(prediction.activations, prediction.teacher_activations, strict=True)
    errors = [
        (ours.float() - theirs.float()).abs().flatten(1).mean(1)
        / theirs.float().abs().flatten(1).mean(1)
        for ours, theirs in pairs
    ]
    return torch.stack(errors).mean()


def image_l1(prediction: Prediction) -> Tensor:
    """Return mean |image - target|."""
    return F.l1_loss(prediction.image.float(), prediction.target)


def latent_power(prediction: Prediction) -> Tensor:
    """Return the mean square of the latent, which keeps its scale near one."""
    assert prediction.latent is not None
    return prediction.latent.float().square().mean()


def activation_power(prediction: Prediction) -> Tensor:
    """Return the mean square of the residual stream, averaged over the decoder's stages.

    The norm before the output hides the stream's scale, which otherwise grows until each residual
    branch is too small beside it to matter.
    """
    powers = [a.float().square().mean() for a in prediction.activations]
    return sum(powers[1:], powers[0]) / len(powers)


def build_terms(loss: LossWeights, lpips_metric: Callable[[], nn.Module]) -> dict[str, Term]:
    """Return the functions of the terms in use, in order; the discriminator computes `gamma`.

    Args:
        lpips_metric: loads LPIPS onto the device; called only if a term needs it.
    """
    lpips = lpips_metric() if loss.needs("lpips") else None
    known: dict[str, Term] = {
        "feature": feature_l1,
        "stream": stream_l1,
        "image": image_l1,
        "lpips": lambda p: lpips(p.image, p.target).mean(),  # type: ignore[misc]
        "teacher_lpips": lambda p: lpips(p.image, p.teacher_image).mean(),  # type: ignore[misc]
        "latent": latent_power,
        "activation": activation_power,
    }
    return {name: known[name] for name in loss.weights() if name != "gamma"}
