"""The terms of the training loss.

A new term is a function here, an entry in the group of what it needs, a field of the same name in
`dcde.base.recipe.LossParams`, and its weight in params.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    teacher_activations: tuple[Tensor, ...] = ()
    """The teacher's, of the same shapes."""
    teacher_image: Tensor | None = None


Term = Callable[[Prediction], Tensor]


def feature_l1(prediction: Prediction) -> Tensor:
    """Mean |student - teacher| at the feature tap."""
    assert prediction.feature is not None and prediction.teacher_feature is not None
    return F.l1_loss(prediction.feature.float(), prediction.teacher_feature.float())


def stream_l1(prediction: Prediction) -> Tensor:
    """Mean |student - teacher| of the residual stream after a stage of the decoder, over the mean
    |teacher| there, averaged over images and stages.

    Relative, so that a stage counts as much as any other, whatever the scale of its features; of
    each image by itself, so that it makes no difference how a batch is shared among processes.
    """
    pairs = zip(prediction.activations, prediction.teacher_activations, strict=True)
    errors = [
        (ours.float() - theirs.float()).abs().flatten(1).mean(1)
        / theirs.float().abs().flatten(1).mean(1)
        for ours, theirs in pairs
    ]
    return torch.stack(errors).mean()


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


def lpips_terms(metric: nn.Module) -> dict[str, Term]:
    """Mean LPIPS between the image and its target, or the teacher's image."""
    return {
        "lpips": lambda prediction: metric(prediction.image, prediction.target).mean(),
        "teacher_lpips": lambda prediction: metric(
            prediction.image, prediction.teacher_image
        ).mean(),
    }


FEATURE_TERMS: dict[str, Term] = {"feature": feature_l1, "stream": stream_l1}
"""Terms that need a teacher's features; the dynamic loss lowers them, and raises all others."""
IMAGE_TERMS: dict[str, Term] = {"image": image_l1}
"""Terms that need nothing but the image and its target."""
LPIPS_TERMS = ("lpips", "teacher_lpips")
"""Terms that need a network, the second one the teacher's image too."""
PICTURE_TERMS = (*IMAGE_TERMS, *LPIPS_TERMS)
"""All terms that compare pictures."""
ENCODER_TERMS: dict[str, Term] = {"latent": latent_power, "activation": activation_power}
"""Terms that need an encoder that is trained along, and the decoder's residual stream."""


def need_teacher(names: Collection[str]) -> bool:
    """Whether any of these terms compares with what the teacher computes."""
    return any(name in FEATURE_TERMS or name == "teacher_lpips" for name in names)


def need_image(names: Collection[str]) -> bool:
    """Whether any of these terms looks at the image, and so trains the layer that makes it."""
    return any(name in (*PICTURE_TERMS, "gamma") for name in names)


def build_terms(names: Collection[str], lpips_metric: Callable[[], nn.Module]) -> dict[str, Term]:
    """The terms of these names, in their order; `gamma` is left out, as the GAN has that.

    Args:
        lpips_metric: loads LPIPS, on the device, where a term needs it.
    """
    known = FEATURE_TERMS | IMAGE_TERMS | ENCODER_TERMS
    if any(name in LPIPS_TERMS for name in names):
        known |= lpips_terms(lpips_metric())
    return {name: known[name] for name in names if name != "gamma"}
