"""Evaluation in shards: over processes, stopped and continued, in bounded memory."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.data.check import check_images
from dcde.data.crops import Crop, eval_crops
from dcde.data.folder import Photo, list_images
from dcde.evaluate import evaluate as evaluation
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from tests.helpers.quick_metrics import MeanDistance, measure, pooled
from tests.helpers.tiny import ROOT, run


class Copy(nn.Module):
    """An autoencoder that returns its input."""

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, latent: Tensor) -> Tensor:
        return latent


def test_scores_of_a_model_that_returns_its_input(
    photo_list: tuple[Photo, ...], networks: Path, tmp_path: Path
) -> None:
    scores = measure(
        {"teacher": Copy()},
        eval_crops(photo_list[0], 64, 2),
        tmp_path,
        lpips_metric=load_lpips(networks / "lpips_alex.safetensors"),
        networks=[pooled()],
    ).scores
    expected = {"psnr_db": 100, "ssim": 1, "lpips": 0, "fd": 0}
    assert scores["teacher"] == pytest.approx(expected, abs=1e-6)


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


@pytest.fixture
def crops_of_five_shards(
    photo_list: tuple[Photo, ...], monkeypatch: pytest.MonkeyPatch
) -> list[Crop]:
    """Eighteen crops, of which a shard has four."""
    monkeypatch.setattr(evaluation, "SHARD_IMAGES", 4)
    return [c for photo in photo_list for c in eval_crops(photo, 32, 4)][:18]


def test_stopped_run_continues_to_the_same_scores(
    tiny_model: DCAE, crops_of_five_shards: list[Crop], tmp_path: Path
) -> None:
    crops = crops_of_five_shards
    models = {"teacher": tiny_model}
    whole = measure(models, crops, tmp_path / "whole", networks=[pooled()], batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        measure(models, crops, tmp_path, lpips_metric=StopAt(6), networks=[pooled()], batch_size=3)
    saved = {p: p.stat().st_mtime_ns for p in (tmp_path / "state").iterdir()}
    assert len(saved) == 2  # shards of 4 are 2 batches each: the third was cut
    # Three shards are left: two of 4 images and one of 2, which are 5 batches.
    counted = StopAt(-1)
    continued = measure(
        models, crops, tmp_path, lpips_metric=counted, networks=[pooled()], batch_size=3
    )
    assert counted.left == -1 - 5
    assert continued.scores == whole.scores
    assert {p: p.stat().st_mtime_ns for p in saved} == saved


def test_two_processes_find_what_one_does(photos: Path, tmp_path: Path) -> None:
    """Five shards, of which the second process has two; the original's statistics are shared."""
    script = ["-m", "tests.helpers.eval_run", str(photos)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    found = []
    for name, prefix in (("one", []), ("two", launch)):
        out = tmp_path / f"{name}.json"
        command = [sys.executable, *prefix, *script, str(tmp_path / name), str(out)]
        done = run(command, ROOT, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
        assert done.returncode == 0, done.stderr
        found.append(json.loads(out.read_text()))
    assert [result.pop("processes") for result in found] == [1, 2]
    assert found[0] == found[1]
    assert len(list((tmp_path / "two/state").iterdir())) == 5


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tiny_model: DCAE, tmp_path: Path) -> None:
    class Probe(MeanDistance):
        """Notes the process's memory at each batch."""

        def __init__(self) -> None:
            super().__init__()
            self.resident_kib: list[int] = []

        def forward(self, image: Tensor, original: Tensor) -> Tensor:
            status = Path("/proc/self/status")
            if not status.exists():
                pytest.skip("needs Linux's /proc")
            match = re.search(r"VmRSS:\s+(\d+)", status.read_text())
            assert match
            self.resident_kib.append(int(match[1]))
            return super().forward(image, original)

    generator = np.random.default_rng(0)
    for i in range(100):
        noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i:03d}.png")
    photos = check_images(list_images(tmp_path))
    crops = [eval_crops(photo, 32, 1)[0] for photo in photos] * 100
    probe = Probe()
    result = measure(
        {"teacher": tiny_model},
        crops,
        tmp_path,
        lpips_metric=probe,
        networks=[pooled()],
        batch_size=100,
    )
    assert len(result.values["teacher"]["psnr_db"]) == 10_000
    grown = max(probe.resident_kib[20:]) - max(probe.resident_kib[10:20])
    assert grown < 8 * 1024, f"{grown} KiB more at 10,000 images than at 2,000"


def test_photo_that_disappeared_is_named(tiny_model: DCAE, tmp_path: Path) -> None:
    crop = Crop(str(tmp_path / "gone.jpg"), 32, 0, 0, 32)
    with pytest.raises(UserError, match=r"gone\.jpg: can't be read any more"):
        measure({"teacher": tiny_model}, [crop], tmp_path)
