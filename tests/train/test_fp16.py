"""The loss scale of fp16, by the scaler that a GPU would have: here its steps run on the CPU."""

from contextlib import nullcontext

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from dcde.base.processes import make_accelerator
from dcde.train.bad_steps import NotFiniteError
from dcde.train.optimizer import adamw, take_step
from tests.helpers.distill_run import OPTIMIZER


class Fp16Steps:
    """Steps of a weight by accelerate's own fp16 path, but for autocasting, which a CPU lacks."""

    def __init__(self, init_scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.accelerator = make_accelerator("fp32")
        self.scaler = GradScaler("cpu", init_scale=init_scale)
        for name, value in {"scaler": self.scaler, "native_amp": True}.items():
            monkeypatch.setattr(self.accelerator, name, value)
        monkeypatch.setattr(self.accelerator.state, "_mixed_precision", "fp16")
        monkeypatch.setattr(self.accelerator, "autocast", nullcontext)
        self.weight = nn.Parameter(torch.ones(3))
        plain = adamw([self.weight], OPTIMIZER)
        self.optimizer = AcceleratedOptimizer(plain, device_placement=False, scaler=self.scaler)

    def __call__(self, factor: float, loss_is: float | None = None) -> dict[str, float]:
        loss = (self.weight * factor).sum()
        self.accelerator.backward(loss)
        shown: Tensor = loss.detach() if loss_is is None else torch.tensor(loss_is)
        return take_step(
            self.accelerator,
            self.optimizer,
            [self.weight],
            {"image": shown},
            lr=0.1,
            grad_clip=1.0,
        )


def test_a_step_that_overflows_moves_nothing_and_halves_the_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Fp16Steps(8.0, monkeypatch)
    assert step(2.0) == {"image": 6.0}
    before = step.weight.detach().clone()
    assert (before != 1).all()
    step(2.0**125)  # which 8 makes more than fp32 has
    assert step.scaler.get_scale() == 4
    torch.testing.assert_close(step.weight.detach(), before, rtol=0, atol=0)


def test_a_gradient_that_is_not_finite_at_scale_1_is_a_bad_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Fp16Steps(4.0, monkeypatch)
    for scale in (2.0, 1.0):
        step(torch.inf, loss_is=1.0)
        assert step.scaler.get_scale() == scale
    for _ in range(2):
        with pytest.raises(NotFiniteError, match="gradient is not finite"):
            step(torch.inf, loss_is=1.0)
        step.optimizer.zero_grad()
    torch.testing.assert_close(step.weight.detach(), torch.ones(3), rtol=0, atol=0)
    step(2.0)  # the scaler takes further steps
    assert (step.weight != 1).all()
