"""Evaluation against the public libraries; in shards, over processes, stopped and continued."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.data.crops import Crop, eval_crops, load_crop
from dcde.data.folder import Photo, check_images, list_images
from dcde.data.pixels import to_model_range, to_uint8
from dcde.evaluate import evaluate as evaluation
from dcde.evaluate.evaluate import Evaluation, evaluate
from dcde.evaluate.gap import gap_to_teacher
from dcde.metrics.frechet import FrechetNetwork, Statistics, inception_network, lite0_network
from dcde.metrics.inception import INCEPTION
from dcde.metrics.lite0 import LITE0
from dcde.metrics.lpips import load_lpips
from dcde.metrics.weights import frechet_networks, write_fid_inputs
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from dcde.prune.depth import prune_depth
from tests.helpers.quick_metrics import MeanDistance, pooled
from tests.helpers.tiny import ROOT, run

CPU = torch.device("cpu")


def measure(
    models: dict[str, Any],
    crops: Sequence[Crop],
    folder: Path,
    *,
    lpips_metric: nn.Module | None = None,
    networks: Sequence[FrechetNetwork] = (),
    batch_size: int = 4,
) -> Evaluation:
    result = evaluate(
        models,
        crops,
        lpips_metric=lpips_metric or MeanDistance(),
        networks=networks,
        batch_size=batch_size,
        workers=0,
        device=CPU,
        state_dir=folder / "state",
        cache_dir=folder / "references",
    )
    assert result is not None
    return result


@pytest.fixture(scope="module")
def pictures(
    photo_list: tuple[Photo, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[DCAE, list[Crop], Path]:
    """The bundled teacher, ten crops, and a folder of `original/` and `decoded/` PNGs of them."""
    folder = tmp_path_factory.mktemp("pictures")
    model = read_model(ROOT / "dcde/assets/dc-ae-f16c16-photos")
    crops = [crop for photo in photo_list for crop in eval_crops(photo, 96, 2)]
    pixels = torch.stack([load_crop(crop) for crop in crops])
    with torch.no_grad():
        decoded = to_uint8(model(to_model_range(pixels)))
    for name, stack in (("original", pixels), ("decoded", decoded)):
        (folder / name).mkdir()
        for i, picture in enumerate(stack):
            array = picture.permute(1, 2, 0).numpy()
            Image.fromarray(array).save(folder / name / f"{i:03d}.png")
    return model, crops, folder


def saved_pairs(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    from skimage.io import imread

    names = sorted(path.name for path in (folder / "original").iterdir())
    return [(imread(folder / "decoded" / n), imread(folder / "original" / n)) for n in names]


def test_scores_are_those_of_the_public_libraries_on_the_saved_pictures(
    pictures: tuple[DCAE, list[Crop], Path], networks: Path, tmp_path: Path
) -> None:
    import lpips
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    model, crops, folder = pictures
    weights = networks / "lpips_alex.safetensors"
    ours = measure({"teacher": model}, crops, tmp_path, lpips_metric=load_lpips(weights))
    pairs = saved_pairs(folder)
    assert len(pairs) == len(crops) == 10

    psnr = [peak_signal_noise_ratio(original, decoded) for decoded, original in pairs]
    assert ours.scores["teacher"]["psnr_db"] == pytest.approx(np.mean(psnr), abs=1e-4)
    ssim = [
        structural_similarity(
            *(np.pad(x, ((5, 5), (5, 5), (0, 0)), mode="reflect") for x in pair),
            channel_axis=2,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        for pair in pairs
    ]
    assert ours.scores["teacher"]["ssim"] == pytest.approx(np.mean(ssim), abs=1e-4)

    # The package's own heads and way of reading pictures; only AlexNet's weights are given to it.
    metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    alexnet = {k: v for k, v in load_file(weights).items() if k.startswith("net.")}
    assert not metric.load_state_dict(alexnet, strict=False).unexpected_keys
    with torch.no_grad():
        theirs = [metric(*map(lpips.im2tensor, pair)).item() for pair in pairs]
    assert ours.scores["teacher"]["lpips"] == pytest.approx(np.mean(theirs), abs=1e-4)
    assert ours.values["teacher"]["lpips"] == pytest.approx(theirs, abs=1e-4)


def test_ssim_is_torchmetrics(pictures: tuple[DCAE, list[Crop], Path], tmp_path: Path) -> None:
    """The DC-AE authors' figures are of its `StructuralSimilarityIndexMeasure`, range 255."""
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    model, crops, folder = pictures
    metric = StructuralSimilarityIndexMeasure(data_range=(0.0, 255.0))
    for pair in saved_pairs(folder):
        metric.update(*(torch.from_numpy(x).permute(2, 0, 1)[None].double() for x in pair))
    ours = measure({"teacher": model}, crops, tmp_path)
    assert ours.scores["teacher"]["ssim"] == pytest.approx(metric.compute().item(), abs=1e-4)


@pytest.fixture(scope="module")
def inception_file(
    pictures: tuple[DCAE, list[Crop], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file as pytorch-fid's, where torch's cache has it: random weights, lively features."""
    from pytorch_fid import inception

    torch.manual_seed(0)
    # What pytorch-fid builds before it loads its weights.
    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for name, block in (
        ("Mixed_5b", inception.FIDInceptionA(192, pool_features=32)),
        ("Mixed_5c", inception.FIDInceptionA(256, pool_features=64)),
        ("Mixed_5d", inception.FIDInceptionA(288, pool_features=64)),
        ("Mixed_6b", inception.FIDInceptionC(768, channels_7x7=128)),
        ("Mixed_6c", inception.FIDInceptionC(768, channels_7x7=160)),
        ("Mixed_6d", inception.FIDInceptionC(768, channels_7x7=160)),
        ("Mixed_6e", inception.FIDInceptionC(768, channels_7x7=192)),
        ("Mixed_7b", inception.FIDInceptionE_1(1280)),
        ("Mixed_7c", inception.FIDInceptionE_2(2048)),
    ):
        setattr(network, name, block)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics are those of the next batch
    images = to_model_range(torch.stack([load_crop(crop) for crop in pictures[1][::3]]))
    with torch.no_grad():
        network.train()(nn.functional.interpolate(images, (299, 299), mode="bilinear"))
    file = tmp_path_factory.mktemp("torch_home") / "hub/checkpoints"
    file.mkdir(parents=True)
    file /= "pt_inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), file)
    return file


def test_fid_is_pytorch_fids_on_folders_of_the_saved_pictures(
    pictures: tuple[DCAE, list[Crop], Path],
    inception_file: Path,
    networks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pytorch_fid.fid_score import calculate_fid_given_paths

    model, crops, folder = pictures
    fid_inputs = {"weights": inception_file, "resolution": crops[0].size}
    write_fid_inputs(tmp_path, stats=None, **fid_inputs)
    network = inception_network(tmp_path / INCEPTION, None, crops[0].size)
    ours = measure({"teacher": model}, crops, tmp_path, networks=[network])
    assert "warning: fid of 10 images, fewer than its 2048 features" in capsys.readouterr().out

    monkeypatch.setenv("TORCH_HOME", str(inception_file.parents[2]))
    paths = [str(folder / name) for name in ("decoded", "original")]
    theirs = calculate_fid_given_paths(paths, 5, "cpu", 2048, num_workers=0)
    assert theirs > 1
    assert ours.scores["teacher"]["fid"] == pytest.approx(theirs, rel=1e-2)

    # The statistics that it kept, given as `eval.fid_stats`, say the same.
    (kept,) = (tmp_path / "references").glob("fid_*.npz")
    write_fid_inputs(tmp_path, stats=kept, **fid_inputs)
    (tmp_path / LITE0).symlink_to(networks / LITE0)
    _, given = frechet_networks(tmp_path, fid=True, resolution=crops[0].size)
    again = measure({"teacher": model}, crops, tmp_path / "again", networks=[given])
    assert again.scores["teacher"]["fid"] == pytest.approx(ours.scores["teacher"]["fid"])
    assert not (tmp_path / "again/references").exists()


def test_evaluate_ranks_a_pruned_model_below_its_teacher(
    tiny_model: DCAE, photo_list: tuple[Photo, ...], networks: Path, tmp_path: Path
) -> None:
    crops = [c for photo in photo_list for c in eval_crops(photo, 64, 1)]
    pruned = prune_depth(tiny_model, ((), (0,), (0,), (0,)))
    scores = measure(
        {"teacher": tiny_model, "pruned": pruned, "student": tiny_model},
        crops,
        tmp_path,
        lpips_metric=load_lpips(networks / "lpips_alex.safetensors"),
        networks=[lite0_network(networks / "efficientnet_lite0.safetensors")],
        batch_size=2,
    ).scores
    assert set(scores["teacher"]) == {"psnr_db", "ssim", "lpips", "fd_lite0"}
    assert scores["teacher"] == scores["student"] != scores["pruned"]
    gap = gap_to_teacher(scores)
    assert gap["psnr_db"] == 0 and gap["psnr_db_recovered"] == 1


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


def test_originals_are_measured_once(
    tiny_model: DCAE, photo_list: tuple[Photo, ...], tmp_path: Path
) -> None:
    """A second run, of another model, finds their statistics; other pictures have their own."""
    crops = eval_crops(photo_list[0], 32, 4)
    first = measure({"teacher": tiny_model}, crops, tmp_path, networks=[pooled()])
    (kept,) = (tmp_path / "references").iterdir()
    reference = Statistics.load(kept, features=12, resolution=32)
    Statistics(reference.mean + 10, reference.covariance).save(kept, resolution=32)
    (tmp_path / "state").rename(tmp_path / "old")
    second = measure({"teacher": tiny_model}, crops, tmp_path, networks=[pooled()])
    assert second.scores["teacher"]["fd"] > first.scores["teacher"]["fd"] + 1000
    other = eval_crops(photo_list[1], 32, 4)
    (tmp_path / "state").rename(tmp_path / "older")
    measure({"teacher": tiny_model}, other, tmp_path, networks=[pooled()])
    assert len(list((tmp_path / "references").iterdir())) == 2


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


def test_stopped_run_continues_to_the_same_scores(
    tiny_model: DCAE,
    photo_list: tuple[Photo, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "SHARD_IMAGES", 4)
    crops = [c for photo in photo_list for c in eval_crops(photo, 32, 4)][:18]
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
    script = ["-m", "tests.helpers.eval_run", str(photos)]
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    found = []
    for name, prefix in (("one", []), ("two", ["-m", *launch])):
        out = tmp_path / f"{name}.json"
        command = [sys.executable, *prefix, *script, str(tmp_path / name), str(out)]
        done = run(command, ROOT, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1]
    assert len(list((tmp_path / "two/state").iterdir())) == 5


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
    photos = check_images(list_images(tmp_path), "refuse")
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
