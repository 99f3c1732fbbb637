"""Losses, schedules and the discriminator: pinned values, and gradients where they belong."""

import math
from pathlib import Path

import pytest
import torch

from dcde.base.errors import UserError
from dcde.metrics.lpips import load_lpips
from dcde.params.autoencoder import AutoencodeLossParams
from dcde.params.file import validate
from dcde.params.pipeline import LossParams
from dcde.params.training import LossWeights, OptimizerParams
from dcde.train.discriminator import PatchGAN, discriminator_loss, generator_loss
from dcde.train.losses import Prediction, build_terms
from dcde.train.schedules import dynamic_weights, learning_rate, warmup
from tests.helpers.distill_run import loss_params

OPTIMIZER = OptimizerParams(lr=1e-3, cosine_t0=4, cosine_t_mult=2, eta_min=1e-5)


def test_learning_rate_is_torchs_warm_restarts() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=OPTIMIZER.lr)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4, 2, 1e-5)
    for quarter in range(4 * 20):
        epoch = quarter / 4
        theirs.step(epoch)
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(OPTIMIZER, epoch) == pytest.approx(expected, rel=1e-9)


def test_warm_up_rises_from_near_zero() -> None:
    assert [warmup(step, 9) for step in (0, 4, 9, 99)] == pytest.approx([0.1, 0.5, 1, 1])


def test_dynamic_weights_at_start_division_and_end() -> None:
    loss = loss_params({"feature": 8.0, "image": 1.0, "gamma": 0.2})

    def at(epoch: int) -> dict[str, float]:
        return dynamic_weights(loss, epoch, 15, 10)

    assert at(0) == pytest.approx({"feature": 8.0, "image": 1.0, "gamma": 0.2})
    assert at(5) == pytest.approx({"feature": 6.0, "image": 1.0, "gamma": 0.2})
    assert at(10) == pytest.approx({"feature": 4.0, "image": 1.0, "gamma": 0.2})
    assert at(12) == pytest.approx({"feature": 4.0, "image": 1.5, "gamma": 0.3})
    assert at(14) == pytest.approx({"feature": 4.0, "image": 2.0, "gamma": 0.4})


def prediction() -> Prediction:
    image = torch.zeros(2, 3, 4, 4)
    return Prediction(
        image + 0.5,
        image,
        feature=torch.ones(2, 5),
        teacher_feature=torch.full((2, 5), 3.0),
        latent=torch.full((2, 4), 2.0),
        activations=(torch.full((2, 4), 1.0), torch.full((2, 4), 3.0)),
        teacher_activations=(torch.full((2, 4), 2.0), torch.full((2, 4), 4.0)),
    )


@pytest.mark.parametrize(
    ("term", "value"),
    [("feature", 2.0), ("stream", 0.375), ("image", 0.5), ("latent", 4.0), ("activation", 5.0)],
)
def test_term_values(term: str, value: float) -> None:
    kind = AutoencodeLossParams if term in AutoencodeLossParams.model_fields else LossParams
    loss = kind.model_validate(dict.fromkeys(kind.model_fields, 0.0) | {term: 1.0})
    (function,) = build_terms(loss, lambda: load_lpips(Path("nowhere"))).values()
    assert function(prediction()).item() == pytest.approx(value)


@pytest.mark.parametrize("kind", [LossParams, AutoencodeLossParams])
def test_every_weight_of_the_loss_has_its_term(kind: type[LossWeights], networks: Path) -> None:
    loss = kind.model_validate(dict.fromkeys(kind.model_fields, 1.0))
    built = build_terms(loss, lambda: load_lpips(networks / "lpips_alex.safetensors"))
    assert built.keys() == kind.model_fields.keys() - {"gamma"}  # which the adversary computes


def test_lpips_is_to_the_photo_or_to_the_teachers_image(networks: Path) -> None:
    metric = load_lpips(networks / "lpips_alex.safetensors")
    image, target, teacher_image = torch.rand(3, 2, 3, 64, 64) * 2 - 1
    found = Prediction(image, target, teacher_image=teacher_image)
    terms = build_terms(LossParams(), lambda: metric)
    assert terms["lpips"](found).item() == pytest.approx(metric(image, target).mean().item())
    other = metric(image, teacher_image).mean().item()
    assert terms["teacher_lpips"](found).item() == pytest.approx(other)


def test_the_teacher_is_asked_by_each_term_that_needs_it() -> None:
    for name in ("feature", "stream", "teacher_lpips"):
        assert loss_params({"image": 1.0, name: 1.0}).needs("teacher")
    assert not loss_params({"image": 1.0, "lpips": 1.0, "gamma": 1.0}).needs("teacher")


def test_a_loss_without_terms_is_refused() -> None:
    with pytest.raises(UserError, match="all weights are 0, expected at least one term"):
        validate(dict.fromkeys(LossParams.model_fields, 0.0), LossParams, where="loss")


def test_gan_losses_at_known_logits() -> None:
    zero, two = torch.zeros(3), torch.full((3,), 2.0)
    assert generator_loss(zero, "bce").item() == pytest.approx(math.log(2))
    assert generator_loss(two, "hinge").item() == pytest.approx(-2.0)
    assert discriminator_loss(zero, zero, "bce").item() == pytest.approx(math.log(2))
    assert discriminator_loss(two, -two, "hinge").item() == pytest.approx(0.0)
    assert discriminator_loss(zero, zero, "hinge").item() == pytest.approx(1.0)


def test_patchgan_is_pix2pix() -> None:
    net = PatchGAN()
    first, last = 3 * 64 * 16 + 64, 512 * 16 + 1
    middle = [64 * 128 * 16 + 2 * 128, 128 * 256 * 16 + 2 * 256, 256 * 512 * 16 + 2 * 512]
    assert sum(p.numel() for p in net.parameters()) == first + sum(middle) + last
    assert net(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)
