"""Evaluation in shards: over processes, stopped and continued."""

import json
import sys
from pathlib import Path

import pytest
from torch import Tensor

from dcde.data.check import check_images
from dcde.data.crops import Crop, eval_crops
from dcde.data.folder import list_images
from dcde.evaluate import evaluate as evaluation
from dcde.model import DCAE
from tests.helpers.quick_metrics import MeanDistance, measure, pooled
from tests.helpers.tiny import ROOT, run


class StopAt(MeanDistance):
    """Ctrl-C at a given batch."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.left = batch

    def forward(self, image: Tensor, original: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().forward(image, original)


def five_shards(photos: Path) -> list[Crop]:
    """Eighteen crops, of which a shard has four."""
    found = check_images(list_images(photos))
    return [crop for photo in found for crop in eval_crops(photo, 32, 4)][:18]


def measure_shards(
    model: DCAE, crops: list[Crop], folder: Path, metric: MeanDistance | None = None
) -> evaluation.Evaluation | None:
    return measure(
        {"teacher": model}, crops, folder, lpips_metric=metric, networks=[pooled()], batch_size=3
    )


def test_stopped_run_continues_to_the_same_scores(
    tiny_model: DCAE, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SHARD_IMAGES", 4)
    crops = five_shards(photos)
    whole = measure_shards(tiny_model, crops, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        measure_shards(tiny_model, crops, tmp_path, StopAt(6))
    saved = {p: p.stat().st_mtime_ns for p in (tmp_path / "state").iterdir()}
    assert len(saved) == 2  # shards of 4 are 2 batches each: the third was cut
    # Three shards are left: two of 4 images and one of 2, which are 5 batches.
    counted = StopAt(-1)
    continued = measure_shards(tiny_model, crops, tmp_path, counted)
    assert counted.left == -1 - 5
    assert whole is not None and continued is not None and continued.scores == whole.scores
    assert {p: p.stat().st_mtime_ns for p in saved} == saved


SHARE = """
import json, sys
from pathlib import Path
from dcde.base.processes import process_state, shared_run
from tests.evaluate.test_shards import evaluation, five_shards, measure_shards
from tests.helpers.tiny import random_model, tiny_config

evaluation.SHARD_IMAGES = 4
photos, folder, out = map(Path, sys.argv[1:])
with shared_run(folder / "state"):
    assert process_state().num_processes == 2
    if result := measure_shards(random_model(tiny_config()), five_shards(photos), folder):
        out.write_text(json.dumps(result.scores))
"""


def test_two_processes_find_what_one_does(
    tiny_model: DCAE, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five shards, of which the second process has two; the original's statistics are shared."""
    monkeypatch.setattr(evaluation, "SHARD_IMAGES", 4)
    alone = measure_shards(tiny_model, five_shards(photos), tmp_path / "one")
    script, out = tmp_path / "share.py", tmp_path / "two.json"
    script.write_text(SHARE)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    command = [sys.executable, *launch, str(photos), str(tmp_path / "two"), str(out)]
    done = run(command, ROOT, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert alone is not None and json.loads(out.read_text()) == alone.scores
    assert len(list((tmp_path / "two/state").iterdir())) == 5
