"""The size that users prune: dc-ae-f32c32, 1.3 GB, with random weights."""

import resource
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from dcde.commands.preset import preset_params
from dcde.model import zoo_config
from dcde.model.checkpoint import read_model, save_model
from dcde.model.dcae import build_on_meta
from tests.helpers.tiny import ROOT, run

SECONDS, GIB = 60, 8


@pytest.mark.slow
def test_a_full_size_prune_is_quick_and_small(in_folder: Path) -> None:
    teacher = build_on_meta(zoo_config("dc-ae-f32c32-in-1.0")).to_empty(device="cpu")
    for tensor in teacher.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(std=0.02)
    save_model(teacher, Path("models/teacher"))
    block = teacher.decoder.stages[2].op_list[2]
    expected = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    del teacher, block
    params = preset_params(ROOT / "presets", "w4-v3").model_dump(mode="json")
    Path("params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")

    start = time.monotonic()
    done = run([sys.executable, "-m", "stages.prune"], in_folder, PYTHONPATH=str(ROOT))
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux
    assert seconds < SECONDS and gib < GIB
    student = read_model(Path("models/pruned"))
    assert student.config.decoder.depths == (0, 1, 2, 1, 1, 2)
    kept = student.decoder.stages[2].op_list[2].state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())
