"""The pipeline of autoencoder/, a DVC project of its own, from photos to a trained model."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from dcde.base.errors import UserError
from dcde.model.checkpoint import read_model
from dcde.model.sources import ASSETS, read_made
from tests.helpers.workspace import change_params, copy_repository, dvc, git

CROPS = {"image_size": 64, "short_side": [64, 96], "flip": True}


def test_a_short_run_leaves_a_model_its_scores_and_its_curves(
    photos: Path, networks: Path, tmp_path: Path
) -> None:
    root, own = tmp_path / "repository", tmp_path / "own"
    copy_repository(root, photos)
    shutil.copytree(ASSETS / "dc-ae-f16c16-photos", own)
    folder = root / "autoencoder"
    changes = {"data.source": str(photos), "data.eval_size": 64, "data.eval_crops": 1}
    changes |= {"start": str(own), "phase2.epochs": 0}
    for phase in ("phase1", "phase3"):
        changes |= {f"{phase}.epochs": 1, f"{phase}.samples_per_epoch": 8, f"{phase}.crops": CROPS}
    change_params(folder, changes)
    output = dvc(folder, "repro")
    for stage in ("prepare_data", "start", "phase1", "phase2", "phase3", "eval"):
        assert f"Running stage '{stage}'" in output
    assert "warning: the encoder trains too" in output
    assert "phase2 has no epochs and changes nothing" in output
    changed = [line[3:] for line in git(root, "status", "--porcelain").splitlines()]
    assert changed and all(file.startswith("autoencoder/") for file in changed)

    metrics = json.loads((folder / "metrics/eval.json").read_text())
    for score in ("psnr_db", "ssim", "lpips", "fd_lite0"):
        gain = metrics["trained"][score] - metrics["start"][score]
        assert abs(metrics["gain"][score] - gain) < 1e-3
    start, first, second, last = (
        read_model(folder / f"models/{name}") for name in ("start", "phase1", "phase2", "phase3")
    )
    image = torch.zeros(1, 3, 64, 64)
    assert not torch.equal(start.encode(image), first.encode(image))
    assert torch.equal(first(image), second(image))
    assert torch.equal(second.encode(image), last.encode(image))  # the head is the decoder's
    assert not torch.equal(second(image), last(image))
    assert (folder / "plots/phase3/plots/metrics/loss/gamma.tsv").is_file()
    assert (folder / "samples/phase1/epoch_001.jpg").is_file()
    assert (folder / "plots/eval/grid.jpg").is_file()
    assert "Running stage" not in dvc(folder, "repro")
    os.utime(own / "model.safetensors", (0, 0))
    with pytest.raises(UserError, match=r"^start: .*safetensors has changed since start read it"):
        read_made(folder / "models/start")
