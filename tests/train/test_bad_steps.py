"""Steps whose loss or gradient is not finite: nothing of them is kept, and they are named."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.data.plan import EpochPlan
from dcde.train import losses, trainer
from dcde.train.bad_steps import NotFiniteError
from dcde.train.learner import Batch, Learner
from dcde.train.losses import Prediction
from tests.helpers.distill_run import CROPS, GAN_LOSS, curve, run_distill
from tests.helpers.distill_run import learner as small_learner

Photos = tuple[Photo, ...]
SMALL: dict[str, Any] = {"crops_per_image": 10_000}


def poison(photos: Photos, cache_dir: Path, epoch: int, batches: list[int]) -> list[str]:
    """Make the cached latents of some batches of a `SMALL` run NaN; return their files."""
    plan = EpochPlan(photos, CROPS, samples=40, crops_per_image=10_000, seed=0)
    rows_of = {crop: row for row, crop in enumerate(plan.distinct_crops(2))}
    crops = [crop for b in batches for crop in plan.crops(epoch)[4 * b : 4 * b + 4]]
    drawn = plan.crops(0) + plan.crops(1)
    assert all(drawn.count(crop) == 1 for crop in crops), "other batches would be bad too"
    (path,) = (p for p in cache_dir.glob("*/latents.npy") if len(np.load(p)) == len(rows_of))
    latents = np.load(path, mmap_mode="r+")
    latents[[rows_of[crop] for crop in crops]] = np.nan
    latents.flush()
    return sorted({crop.path for crop in crops})


WEIGHTS = {"feature": 1.0, "image": 1.0, "root": 1.0, "gamma": 0.1}


def step(learner: Learner, batch: Batch) -> Prediction:
    return learner.step([batch], WEIGHTS, lr=1e-3)[0]


def copy_of(learner: Learner) -> dict[str, Any]:
    return copy.deepcopy({name: part.state_dict() for name, part in learner.parts().items()})


def assert_equal(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_nothing_of_a_step_with_a_bad_loss_is_kept() -> None:
    learner, batch = small_learner(GAN_LOSS)
    step(learner, batch)
    before = copy_of(learner)
    with pytest.raises(NotFiniteError, match=r"^loss\.feature is nan$"):
        step(learner, batch | {"latent": batch["latent"] / 0 - batch["latent"] / 0})
    assert_equal(copy_of(learner), before)
    step(learner, batch)
    assert not torch.equal(
        copy_of(learner)["module"]["stages.1.op_list.1.main.conv1.conv.weight"],
        before["module"]["stages.1.op_list.1.main.conv1.conv.weight"],
    )


def test_nothing_of_a_step_with_a_bad_gradient_is_kept() -> None:
    """The square root of 0 is finite; its gradient is not."""
    learner, batch = small_learner(GAN_LOSS)
    learner.terms = {**learner.terms, "root": lambda p: (p.image * 0).square().sqrt().mean()}
    before = copy_of(learner)
    with pytest.raises(NotFiniteError, match=r"^the gradient is not finite, though the losses"):
        step(learner, batch)
    assert_equal(copy_of(learner), before)


def test_nothing_of_a_bad_step_of_the_discriminator_is_kept() -> None:
    learner, batch = small_learner(GAN_LOSS)
    adversary = learner.adversary
    assert adversary is not None
    prediction = step(learner, batch)
    adversary.step(prediction, lr=1e-3)
    before = copy_of(learner)
    broken = Prediction(prediction.image * torch.inf, prediction.target)
    with pytest.raises(NotFiniteError, match=r"^loss\.discriminator is nan$"):
        adversary.step(broken, lr=1e-3)
    assert_equal(copy_of(learner), before)


def test_a_bad_batch_is_skipped_and_named(
    photo_list: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "latents"
    run_distill(photo_list, tmp_path / "clean", cache_dir=cache, **SMALL)
    files = poison(photo_list, cache, 0, [4])
    capsys.readouterr()
    _, student = run_distill(photo_list, tmp_path / "bad", cache_dir=cache, **SMALL)
    printed = capsys.readouterr().out
    assert (
        "step 4: loss.feature is nan: skipped (number 1 of at most 10); the step's files: "
        + ", ".join(files)
    ) in printed
    assert all(torch.isfinite(tensor).all() for tensor in student.state_dict().values())
    assert list(curve(tmp_path / "bad", "loss/total")) == [*range(4), *range(5, 20)]
    assert curve(tmp_path / "bad", "bad_steps") == {4: 1}
    clean, bad = (curve(tmp_path / name, "lr") for name in ("clean", "bad"))
    assert all(bad[s] == clean[s] for s in bad)


def test_too_many_bad_steps_name_term_step_and_files(
    photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MAX_BAD_STEPS", 1)
    cache = tmp_path / "latents"
    run_distill(photo_list, tmp_path / "clean", cache_dir=cache, **SMALL)
    poison(photo_list, cache, 0, [2])
    files = poison(photo_list, cache, 0, [6])
    message = (
        "step 6: loss.feature is nan. 1 steps were skipped before it, the most that a run may "
        "have. The step's files: " + ", ".join(files)
    )
    for _ in range(2):  # the continued run comes to the same end
        with pytest.raises(UserError) as caught:
            run_distill(photo_list, tmp_path / "bad", cache_dir=cache, **SMALL)
        assert str(caught.value) == message


def test_lack_of_memory_says_what_to_lower(
    photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(prediction: Prediction) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(losses, "image_l1", full)
    with pytest.raises(UserError, match=r"out of memory at step 0: lower batch_size .* bf16"):
        run_distill(photo_list, tmp_path)
