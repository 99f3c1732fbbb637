"""When the discriminator takes part, and how much it weighs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dcde.base.processes import make_accelerator
from dcde.data.folder import Photo
from dcde.model import DCAE
from dcde.train.adversary import Adversary
from tests.helpers.distill_run import GAN, OPTIMIZER, curve, curve_names, run_distill, same_weights

Photos = tuple[Photo, ...]
QUICK = {"samples_per_epoch": 16, "gan": {"ratio": 4}}


def adversary(**changes: Any) -> Adversary:
    return Adversary(GAN.model_copy(update=changes), OPTIMIZER, make_accelerator("fp32"))


def copied(model: DCAE) -> DCAE:
    copy = DCAE(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def test_until_it_starts_the_run_is_that_without_it(photo_list: Photos, tmp_path: Path) -> None:
    epochs: dict[str, list[DCAE]] = {}
    for name, gamma in (("with", 0.1), ("without", 0.0)):
        epochs[name] = kept = []
        run_distill(
            photo_list,
            tmp_path / name,
            loss={"feature": 1.0, "image": 1.0, "gamma": gamma},
            **QUICK | {"gan": {"ratio": 4, "start": 2}},
            on_epoch=lambda epoch, model, kept=kept: kept.append(copied(model)),
        )
    same = [same_weights(*pair) for pair in zip(*epochs.values(), strict=True)]
    assert same == [True, True, False]
    assert min(curve(tmp_path / "with", "loss/discriminator")) == 8  # four steps an epoch
    assert "loss/discriminator" not in str(curve_names(tmp_path / "without"))


def test_its_weight_rises(photo_list: Photos, tmp_path: Path) -> None:
    at = adversary(start=2, ramp_epochs=0.5).weights
    weights = {"image": 1.0, "gamma": 0.4}
    assert at(weights, 1.99) == {"image": 1.0}
    found = [at(weights, epoch)["gamma"] for epoch in (2, 2.25, 2.5, 9)]
    assert found == pytest.approx([0.0, 0.2, 0.4, 0.4])
    assert adversary(start=2).weights(weights, 2) == weights


def test_the_adaptive_weight_is_a_ratio_of_pulls() -> None:
    image = torch.randn(2, 3, 8, 8, requires_grad=True)
    others, judgement = 3 * image.square().sum(), 0.5 * (image + 1).square().sum()
    pulls = [
        torch.autograd.grad(x, image, retain_graph=True)[0].norm() for x in (others, judgement)
    ]
    balance = adversary(adaptive=True).balance(others, judgement, image)
    torch.testing.assert_close(balance, pulls[0] / pulls[1])
    assert image.grad is None
    assert adversary(adaptive=True).balance(others, 0 * judgement, image) == 1e4


def test_it_pulls_as_hard_whatever_the_scale_of_its_logits(
    photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an adaptive weight makes up for it."""
    plain = Adversary.term
    trained: dict[tuple[bool, float], DCAE] = {}
    for adaptive in (True, False):
        for scale in (1.0, 8.0):
            monkeypatch.setattr(Adversary, "term", lambda *a, scale=scale: scale * plain(*a))
            _, trained[adaptive, scale] = run_distill(
                photo_list,
                tmp_path / f"{adaptive}-{scale}",
                epochs=1,
                dynamic_loss=False,
                loss={"image": 1.0, "gamma": 0.5},
                samples_per_epoch=16,
                gan={"ratio": 4, "adaptive": adaptive},
            )
    weights = {k: torch.cat([p.flatten() for p in m.parameters()]) for k, m in trained.items()}
    moved = [(weights[a, 1.0] - weights[a, 8.0]).abs().max().item() for a in (True, False)]
    assert moved[0] < 1e-5 < 1e-4 < moved[1]
