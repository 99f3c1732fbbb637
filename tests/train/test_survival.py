"""A run that was cut or stopped ends as a whole one."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.train import losses, trainer
from dcde.train.losses import Prediction, image_l1
from dcde.train.run_state import Position, RunState
from tests.helpers.distill_run import (
    GAN_LOSS,
    curve,
    run_distill,
    same_weights,
)

Photos = tuple[Photo, ...]


@pytest.fixture(autouse=True)
def saved_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVING_SHARE", float("inf"))


class CutError(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"gan_ratio": 20, "loss": GAN_LOSS},
        {"ema": 0, "accumulation_steps": 3, "shallow_epochs": 1},
        {"narrow": True, "checkpoint_activations": True, "loss": {"image": 1.0, "stream": 0.3}},
    ],
    ids=str,
)
def test_run_cut_inside_an_epoch_ends_as_a_whole_one(
    changes: dict[str, Any], photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = run_distill(photo_list, tmp_path / "whole", **changes)
    steps = 0

    def cut(prediction: Prediction) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 17:
            raise CutError
        return image_l1(prediction)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(losses, "image_l1", cut)
        run_distill(photo_list, tmp_path / "cut", **changes)
    position = torch.load(tmp_path / "cut/state.pt", weights_only=True)["position"]
    assert position["epoch"] == 1 and 0 < position["batch"] <= 6
    _, continued = run_distill(photo_list, tmp_path / "cut", **changes)
    assert same_weights(continued, expected)
    assert curve(tmp_path / "cut", "loss/image") == curve(tmp_path / "whole", "loss/image")


def test_run_cut_at_an_epochs_end_ends_as_a_whole_one(
    photo_list: Photos, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores are logged, but the state that knows of them is not saved."""
    lpips = str(networks / "lpips_alex.safetensors")
    arguments: dict[str, Any] = {"validation_photos": 1, "lpips_weights": lpips}
    _, expected = run_distill(photo_list, tmp_path / "whole", **arguments)
    save = RunState.save

    def cut(self: RunState, position: Position) -> None:
        if (position.epoch, position.batch) == (1, 0):
            raise CutError
        save(self, position)

    with monkeypatch.context() as patch, pytest.raises(CutError):
        patch.setattr(RunState, "save", cut)
        run_distill(photo_list, tmp_path / "cut", **arguments)
    assert len(curve(tmp_path / "cut", "validation/lpips")) == 1
    _, continued = run_distill(photo_list, tmp_path / "cut", **arguments)
    assert same_weights(continued, expected)
    for name in ("validation/lpips", "loss/image"):
        assert curve(tmp_path / "cut", name) == curve(tmp_path / "whole", name)


@pytest.mark.parametrize("request_", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_and_says_how_to_go_on(
    request_: signal.Signals, photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C and schedulers signal the processes that load images too."""

    def stopped(prediction: Prediction) -> Tensor:
        loaders = psutil.Process().children()
        assert loaders
        pids = [str(process.pid) for process in [*loaders, psutil.Process()]]
        # None of them sends it.
        subprocess.run(["kill", f"-{request_.name[3:]}", *pids], check=True)
        time.sleep(0.2)
        return image_l1(prediction)

    monkeypatch.setattr(losses, "image_l1", stopped)
    with pytest.raises(UserError, match=r"^stopped on request after step 1\. The state is saved"):
        run_distill(photo_list, tmp_path, workers=1)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["position"]["step"] == 1


def test_unfinished_runs_of_other_parameters_are_left_alone(
    photo_list: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_distill(photo_list, tmp_path / "a")
    before = (tmp_path / "a/state.pt").read_bytes()
    capsys.readouterr()
    run_distill(photo_list, tmp_path / "b", tap="norm")
    assert f"starting anew in {tmp_path / 'b'}. The unfinished runs beside it (a) have other " in (
        capsys.readouterr().out
    )
    assert (tmp_path / "a/state.pt").read_bytes() == before
