"""What a run survives: kills, stop requests, steps that fail, lack of memory."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.base.processes import make_accelerator
from dcde.data.folder import Photo
from dcde.data.plan import EpochPlan
from dcde.distill.task import DistillTask
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.train.adversary import Adversary
from dcde.train.bad_steps import NotFiniteError
from dcde.train.learner import Batch, Learner
from dcde.train.losses import FEATURE_TERMS, IMAGE_TERMS, Prediction, image_l1
from dcde.train.run_state import STATE, Position, RunState
from tests.helpers.distill_run import (
    CROPS,
    GAN,
    OPTIMIZER,
    curve,
    distill_params,
    models,
    run_distill,
    same_weights,
)
from tests.helpers.tiny import ROOT

Photos = tuple[Photo, ...]
SMALL: dict[str, Any] = {"epochs": 2, "samples_per_epoch": 40, "crops_per_image": 10_000}


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


class CutError(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"gan": {"norm": "spectral"}},
        {"gan": {"norm": "group"}, "ema": 0},
        {"accumulation_steps": 3, "shallow_epochs": 1},
        {"checkpoint_activations": True, "loss": {"image": 1.0}},
    ],
    ids=str,
)
def test_run_cut_inside_an_epoch_ends_as_a_whole_one(
    changes: dict[str, Any], photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = run_distill(photo_list, tmp_path / "whole", epochs=2, **changes)
    steps = 0

    def cut(prediction: Prediction) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 31:
            raise CutError
        return image_l1(prediction)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setitem(IMAGE_TERMS, "image", cut)
        run_distill(photo_list, tmp_path / "cut", epochs=2, **changes)
    position = torch.load(tmp_path / "cut/state.pt", weights_only=True)["position"]
    assert position["epoch"] == 1 and 0 < position["batch"] <= 10
    _, continued = run_distill(photo_list, tmp_path / "cut", epochs=2, **changes)
    assert same_weights(continued, expected)
    assert curve(tmp_path / "cut", "loss/image") == curve(tmp_path / "whole", "loss/image")


def test_run_cut_at_an_epochs_end_ends_as_a_whole_one(
    photo_list: Photos, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores are logged, but the state that knows of them is not saved."""
    arguments: dict[str, Any] = {
        "epochs": 2,
        "validation_photos": 1,
        "lpips_weights": str(networks / "lpips_alex.safetensors"),
    }
    _, expected = run_distill(photo_list, tmp_path / "whole", **arguments)
    save = RunState.save

    def cut(self: RunState, position: Position, name: str = STATE) -> None:
        if (position.epoch, position.batch) == (1, 0):
            raise CutError
        save(self, position, name)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(RunState, "save", cut)
        run_distill(photo_list, tmp_path / "cut", **arguments)
    assert len(curve(tmp_path / "cut", "validation/lpips")) == 1
    _, continued = run_distill(photo_list, tmp_path / "cut", **arguments)
    assert same_weights(continued, expected)
    for name in ("validation/lpips", "loss/image"):
        assert curve(tmp_path / "cut", name) == curve(tmp_path / "whole", name)


def test_killed_runs_end_as_an_uninterrupted_one(
    photos: Path, photo_list: Photos, networks: Path, tmp_path: Path
) -> None:
    """kill -9 at random moments, several in a row, with all that has a state on."""
    arguments = SMALL | {
        "epochs": 3,
        "accumulation_steps": 2,
        "max_bad_steps": 4,
        "validation_photos": 1,
        "select": "best",
        "lpips_weights": str(networks / "lpips_alex.safetensors"),
    }
    cache, whole = tmp_path / "latents", tmp_path / "whole"
    run_distill(photo_list, tmp_path / "clean", cache_dir=cache, **arguments)
    for path in cache.glob("*/latents.npy"):
        latents = np.load(path, mmap_mode="r+")
        latents[len(latents) // 3] = np.nan
        latents.flush()
    _, expected = run_distill(photo_list, whole, cache_dir=cache, **arguments)
    assert len(curve(whole, "bad_steps")) > 0
    state_dir, out = tmp_path / "state", tmp_path / "student"
    command = [
        sys.executable,
        "-m",
        "tests.helpers.distill_run",
        *map(str, (state_dir, cache, out, photos)),
    ]
    command.append(json.dumps(arguments))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    rng = random.Random(0)
    kills = 0
    for _ in range(3):
        before = (state_dir / "state.pt").stat().st_mtime_ns if kills else 0
        with (tmp_path / "log.txt").open("w") as log:
            child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        while child.poll() is None:
            state = state_dir / "state.pt"
            if state.exists() and state.stat().st_mtime_ns != before:
                time.sleep(0.2 * rng.random())
                child.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        child.wait()
    assert kills == 3 and not out.exists()
    position = torch.load(state_dir / "state.pt", weights_only=True)["position"]
    assert 0 < position["step"] < 15
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "continuing at epoch" in done.stdout + done.stderr
    assert same_weights(read_model(out), expected)
    for name in ("loss/image", "loss/discriminator", "validation/lpips", "bad_steps"):
        assert curve(state_dir, name) == curve(whole, name)


def test_ctrl_c_saves_and_says_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "tests.helpers.distill_run",
        str(state_dir),
        str(tmp_path / "latents"),
    ]
    command += [str(tmp_path / "student"), str(photos)]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not (state_dir / "state.pt").exists():
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 1
    step = torch.load(state_dir / "state.pt", weights_only=True)["position"]["step"]
    assert errors.splitlines()[-1].startswith(f"error: stopped on request after step {step}, which")
    assert "Traceback" not in errors and not (tmp_path / "student").exists()


def learner_and_batch() -> tuple[Learner, DCAE, Batch]:
    """GAN, moving average and batch norms on; a batch of two."""
    accelerator = make_accelerator("fp32")
    teacher, student = models()
    student.requires_grad_(False).decoder.requires_grad_(True)
    torch.manual_seed(0)
    learner = Learner(
        DistillTask(student.decoder, teacher.decoder, 3),
        accelerator=accelerator,
        terms=FEATURE_TERMS | IMAGE_TERMS,
        train=distill_params(),
        optimizer=OPTIMIZER,
        adversary=Adversary(GAN, OPTIMIZER, accelerator),
    )
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    return learner, student, {"pixels": pixels, "latent": torch.randn(2, 4, 4, 4)}


def step(learner: Learner, batch: Batch) -> Prediction:
    weights = {"feature": 1.0, "image": 1.0, "root": 1.0, "gamma": 0.1}
    prediction, _ = learner.step([batch], weights, lr=1e-3, resting=())
    return prediction


def copy_of(learner: Learner) -> dict[str, Any]:
    assert learner.adversary is not None
    parts = learner.parts() | learner.adversary.parts()
    return copy.deepcopy({name: part.state_dict() for name, part in parts.items()})


def assert_equal(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_nothing_of_a_step_with_a_bad_loss_is_kept() -> None:
    learner, _, batch = learner_and_batch()
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


def test_a_bad_gradient_is_traced_to_its_term() -> None:
    """The square root of 0 is finite; its gradient is not."""
    learner, _, batch = learner_and_batch()
    learner.terms = {**learner.terms, "root": lambda p: (p.image * 0).square().sqrt().mean()}
    before = copy_of(learner)
    with pytest.raises(NotFiniteError, match=r"^the gradient of loss\.root is not finite$"):
        step(learner, batch)
    assert_equal(copy_of(learner), before)


def test_nothing_of_a_bad_step_of_the_discriminator_is_kept() -> None:
    learner, _, batch = learner_and_batch()
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
    _, student = run_distill(
        photo_list, tmp_path / "bad", cache_dir=cache, **SMALL, max_bad_steps=1
    )
    printed = capsys.readouterr().out
    assert (
        "step 4: loss.feature is nan: skipped, as bad step 1 of at most 1; the step's files: "
        + ", ".join(files)
    ) in printed
    assert all(torch.isfinite(tensor).all() for tensor in student.state_dict().values())
    assert list(curve(tmp_path / "bad", "loss/total")) == [*range(4), *range(5, 20)]
    assert curve(tmp_path / "bad", "bad_steps") == {4: 1}
    clean, bad = (curve(tmp_path / name, "lr") for name in ("clean", "bad"))
    assert all(bad[s] == clean[s] for s in bad)


def test_too_many_bad_steps_name_term_step_and_files(photo_list: Photos, tmp_path: Path) -> None:
    cache = tmp_path / "latents"
    run_distill(photo_list, tmp_path / "clean", cache_dir=cache, **SMALL)
    poison(photo_list, cache, 0, [2])
    files = poison(photo_list, cache, 0, [6])
    message = (
        "step 6: loss.feature is nan, and 1 bad steps were skipped before it, the most that "
        "max_bad_steps allows; the step's files: " + ", ".join(files)
    )
    for _ in range(2):  # the continued run comes to the same end
        with pytest.raises(UserError) as caught:
            run_distill(photo_list, tmp_path / "bad", cache_dir=cache, **SMALL, max_bad_steps=1)
        assert str(caught.value) == message


def test_bad_steps_in_a_row_bring_back_the_epochs_start(
    photo_list: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "latents"
    after: list[DCAE] = []
    keep: Any = {"on_epoch": lambda epoch, student: after.append(student)}
    run_distill(photo_list, tmp_path / "clean", cache_dir=cache, **SMALL, **keep)
    poison(photo_list, cache, 1, [7, 8, 9])
    run_distill(photo_list, tmp_path / "bad", cache_dir=cache, **SMALL, **keep, max_bad_steps=3)
    assert "3 bad steps in a row: weights, optimizers and averages go back to the start of " in (
        capsys.readouterr().out
    )
    first, last, first_of_bad, last_of_bad = after
    assert same_weights(first, first_of_bad) and not same_weights(first, last)
    assert same_weights(last_of_bad, first)


def test_lack_of_memory_says_what_to_lower(
    photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(prediction: Prediction) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setitem(IMAGE_TERMS, "image", full)
    with pytest.raises(UserError, match=r"out of memory at step 0: lower batch_size .* bf16"):
        run_distill(photo_list, tmp_path, epochs=2)


def test_unfinished_runs_of_other_parameters_are_left_alone(
    photo_list: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_distill(photo_list, tmp_path / "a", epochs=2)
    before = (tmp_path / "a/state.pt").read_bytes()
    capsys.readouterr()
    run_distill(photo_list, tmp_path / "b", epochs=2, tap=2)
    assert (
        f"starting anew in {tmp_path / 'b'}: the unfinished runs beside it (a) are of other "
        in (capsys.readouterr().out)
    )
    assert (tmp_path / "a/state.pt").read_bytes() == before
