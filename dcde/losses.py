"""The terms of the training loss. A new one is a function here and a weight in params.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcde.errors import UserError
from dcde.perceptual import load_lpips


@dataclass(frozen=True)
class Prediction:
    """What a training step computed. Images (B, 3, H, W) in [-1, 1]."""

    image: Tensor
    target: Tensor
    feature: Tensor | None = None
    """The student's feature at the tap, (B, C, h, w)."""
    teacher_feature: Tensor | None = None
    latent: Tensor | None = None
    activations: tuple[Tensor, ...] = ()
    """The residual stream after each stage of the decoder."""


Term = Callable[[Prediction], Tensor]


def feature_l1(prediction: Prediction) -> Tensor:
    """Mean |student - teacher| at the feature tap."""
    assert prediction.feature is not None and prediction.teacher_feature is not None
    return F.l1_loss(prediction.feature.float(), prediction.teacher_feature.float())


def image_l1(prediction: Prediction) -> Tensor:
    """Mean |image - target|."""
    return F.l1_loss(prediction.image.float(), prediction.target)


def latent_power(prediction: Prediction) -> Tensor:
    """Mean square of the latent: keeps its scale near one."""
    assert prediction.latent is not None
    return prediction.latent.float().square().mean()


def activation_power(prediction: Prediction) -> Tensor:
    """Mean square of the residual stream, averaged over the decoder's stages.

    The norm before the output hides the stream's scale, which drifts upwards until each residual
    branch is too small beside it to matter.
    """
    powers = [a.float().square().mean() for a in prediction.activations]
    return sum(powers[1:], powers[0]) / len(powers)


def lpips_term(metric: nn.Module) -> Term:
    """Mean LPIPS between image and target."""
    return lambda prediction: metric(prediction.image, prediction.target).mean()


PURE_TERMS: dict[str, Term] = {
    "feature": feature_l1,
    "image": image_l1,
    "latent": latent_power,
    "activation": activation_power,
}
DISTILL_ONLY = ("feature", "gamma")
"""Terms that need a teacher; `gamma` weighs the PatchGAN, which the trainer runs."""
TEACHER_ONLY = ("latent", "activation")
"""Terms that need a trained encoder."""


def check_weights(weights: Mapping[str, float], *, without: tuple[str, ...]) -> None:
    """Refuse a misspelt term, and those that do not apply.

    Raises:
        UserError: naming it.
    """
    allowed = [name for name in (*PURE_TERMS, "lpips", "gamma") if name not in without]
    for name in weights:
        if name not in allowed:
            raise UserError(f"loss.{name}: unknown term, expected one of {', '.join(allowed)}")
    if not any(weights.values()):
        raise UserError("loss: all weights are 0, expected at least one term to train with")


def build_terms(
    weights: Mapping[str, float], lpips_weights: Path, device: torch.device
) -> dict[str, Term]:
    """The terms whose weight is not zero, the GAN's aside.

    Raises:
        UserError: if LPIPS is asked for and its weights are missing.
    """
    terms = {name: PURE_TERMS[name] for name, w in weights.items() if w and name in PURE_TERMS}
    if weights.get("lpips"):
        terms["lpips"] = lpips_term(load_lpips(lpips_weights).to(device))
    return terms
