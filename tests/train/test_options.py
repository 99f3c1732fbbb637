"""The trainer's switches: what each does when it is on, and that it leaves no trace when off."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dcde.data.folder import Photo
from dcde.model import DCAE
from tests.helpers.distill_run import (
    GAN_LOSS,
    curve,
    curve_names,
    learner,
    models,
    run_distill,
    same_weights,
)

Photos = tuple[Photo, ...]
QUICK: dict[str, Any] = {"epochs": 2, "samples_per_epoch": 24}


def state(folder: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    return saved


def test_recomputed_activations_change_nothing(photo_list: Photos, tmp_path: Path) -> None:
    _, a = run_distill(photo_list, tmp_path / "a", **QUICK)
    _, b = run_distill(photo_list, tmp_path / "b", **QUICK, checkpoint_activations=True)
    assert same_weights(a, b)
    assert curve(tmp_path / "a", "loss/total") == curve(tmp_path / "b", "loss/total")


def test_moving_average_does_not_change_what_is_trained(photo_list: Photos, tmp_path: Path) -> None:
    loss = {"image": 1.0}
    _, averaged = run_distill(photo_list, tmp_path / "on", **QUICK, loss=loss, ema=0.9)
    _, plain = run_distill(photo_list, tmp_path / "off", **QUICK, loss=loss, ema=0)
    on, off = state(tmp_path / "on"), state(tmp_path / "off")
    assert "ema" in on and not {"ema", "discriminator"} & off.keys()
    assert curve_names(tmp_path / "off") == {"loss/image", "loss/total", "weight/image", "lr"}
    assert all(torch.equal(on["module"][name], off["module"][name]) for name in off["module"])
    assert not same_weights(averaged, plain)


def test_held_out_photos_are_those_that_training_lacks(
    photo_list: Photos, networks: Path, tmp_path: Path
) -> None:
    lpips = str(networks / "lpips_alex.safetensors")
    _, on = run_distill(
        photo_list, tmp_path / "on", **QUICK, validation_photos=1, lpips_weights=lpips
    )
    _, off = run_distill(photo_list[1:], tmp_path / "off", **QUICK)
    assert same_weights(on, off)
    scores = {"validation/psnr_db", "validation/lpips"}
    assert curve_names(tmp_path / "on") - curve_names(tmp_path / "off") == scores
    assert list(curve(tmp_path / "on", "validation/lpips")) == [5, 11]


def test_curves_show_losses_weights_and_learning_rates(photo_list: Photos, tmp_path: Path) -> None:
    run_distill(photo_list, tmp_path, **QUICK, loss=GAN_LOSS)
    expected = {f"loss/{t}" for t in (*GAN_LOSS, "total", "discriminator")}
    expected |= {f"weight/{t}" for t in GAN_LOSS} | {"lr", "lr_discriminator"}
    assert curve_names(tmp_path) == expected
    rates = curve(tmp_path, "lr_discriminator")
    assert rates[0] == pytest.approx(1e-3) and rates[11] < rates[6] < rates[0]
    weights = curve(tmp_path, "weight/feature")
    assert [weights[0], weights[11]] == pytest.approx([1.0, 0.5])


def test_accumulated_batches_are_one_large_batch(photo_list: Photos, tmp_path: Path) -> None:
    """In a student without batch norms, which depend on how samples are grouped."""
    settings = QUICK | {"norm": "trms2d"}
    _, large = run_distill(photo_list, tmp_path / "a", **settings, batch_size=8)
    _, small = run_distill(photo_list, tmp_path / "b", **settings, accumulation_steps=2)
    for name in ("loss/image", "loss/feature", "loss/total"):
        a, b = curve(tmp_path / "a", name), curve(tmp_path / "b", name)
        assert b == pytest.approx(a, rel=1e-5) and list(a) == list(range(6))
    for ours, theirs in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_an_epochs_last_step_takes_the_batches_that_are_left(
    photo_list: Photos, tmp_path: Path
) -> None:
    settings = {"epochs": 2, "samples_per_epoch": 20, "accumulation_steps": 2}
    run_distill(photo_list, tmp_path, **settings, loss=GAN_LOSS)
    assert list(curve(tmp_path, "loss/image")) == list(range(6))
    assert state(tmp_path)["position"]["samples"] == 40
    # The discriminator's turns: first past 10, 20, 30 and 40 samples, at most one each step.
    assert list(curve(tmp_path, "loss/discriminator")) == [1, 2, 4, 5]


def test_shallow_stages_train_alone_then_all(photo_list: Photos, tmp_path: Path) -> None:
    """Shallow is the half of the stages at the highest resolution: of 1, 2 and 3 the first."""
    before = models()[1].decoder
    after: list[DCAE] = []
    run_distill(
        photo_list,
        tmp_path,
        **QUICK,
        ema=0,
        shallow_epochs=1,
        on_epoch=lambda epoch, student: after.append(student),
    )
    first, last = (student.decoder for student in after)
    for i in (1, 2, 3):
        assert moved(before.stages[i], first.stages[i]) == (i == 1)
        assert moved(first.stages[i], last.stages[i])
    assert not moved(before.project_in, first.project_in)
    assert moved(first.project_in, last.project_in)


def moved(before: nn.Module, after: nn.Module) -> bool:
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    changed = {not torch.equal(a, b) for a, b in pairs}
    assert len(changed) == 1, "some parameters moved, others not"
    return changed.pop()


def vector(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_result_is_the_moving_average() -> None:
    """The first step's weights, then average = 0.7 average + 0.3 weights."""
    made, batch = learner({"image": 1.0}, ema=0.7)
    expected = None
    for _ in range(3):
        made.step([batch], {"image": 1.0}, lr=1e-2)
        now = vector(made.net)
        expected = now if expected is None else 0.7 * expected + 0.3 * now
    assert expected is not None
    torch.testing.assert_close(vector(made.result()), expected, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_gradient() -> None:
    """Below AdamW's epsilon of 1e-8, a gradient no longer moves weights by the learning rate."""
    moves = []
    for clip in (0, 1e-9):
        made, batch = learner({"image": 1.0}, grad_clip=clip, ema=0)
        before = vector(made.net)
        made.step([batch], {"image": 1.0}, lr=1e-3)
        moves.append((vector(made.net) - before).abs().mean().item())
    assert moves[0] == pytest.approx(1e-3, rel=0.2)
    assert moves[1] < 0.1 * moves[0]
