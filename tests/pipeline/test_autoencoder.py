"""The teacher's pipeline, a DVC project of its own, from photos to a published teacher."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from dcde.model.checkpoint import read_model
from tests.helpers.workspace import change_params, dvc

SHORT = {"epochs": 1, "samples_per_epoch": 8, "compile": False, "precision": "fp32"}
CROPS = {"image_size": 64, "short_side": [64, 96], "flip": True}


def test_a_short_training_ends_as_a_published_teacher(workspace: Path, photos: Path) -> None:
    folder = workspace / "teacher"
    changes = {"data.train": str(photos), "data.val": str(photos), "data.eval_size": 64}
    for phase in ("train", "decoder.train", "refine.train"):
        changes |= {f"{phase}.{key}": value for key, value in SHORT.items()}
        changes[f"{phase}.crops"] = CROPS
    change_params(folder, changes | {"runtime.log_every": 1})
    output = dvc(folder, "repro")
    for stage in ("train", "decoder", "refine", "publish"):
        assert f"Running stage '{stage}'" in output

    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["images"] == 5 and metrics["psnr_db"] > 0
    assert len(metrics["blocks"]) == 5 + 10 + 2 + 2
    trained, refined = (read_model(folder / f"models/{name}") for name in ("trained", "refined"))
    published = read_model(folder / "models/published")
    latent = torch.zeros(1, 3, 64, 64)
    assert torch.equal(trained.encode(latent), refined.encode(latent))
    assert not torch.equal(trained.decode(trained.encode(latent)), refined(latent))
    assert torch.allclose(published(latent), refined(latent), atol=0.05)
    assert (folder / "plots/refine/plots/metrics/loss/gamma.tsv").is_file()
    assert "Running stage" not in dvc(folder, "repro")
    assert "up to date" in dvc(workspace, "status")
