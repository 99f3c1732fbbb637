"""Evaluation against the public libraries; in shards, over processes, stopped and continued."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from dcde.data.crops import Crop, eval_crops, load_crop
from dcde.data.folder import Photo
from dcde.data.pixels import to_model_range, to_uint8
from dcde.evaluate.evaluate import gap_to_teacher
from dcde.metrics.frechet import Moments, inception_network
from dcde.metrics.inception import INCEPTION
from dcde.metrics.lite0 import LITE0
from dcde.metrics.lpips import load_lpips
from dcde.metrics.weights import FID_STATS, frechet_networks, write_fid_inputs
from dcde.model import DCAE
from dcde.model.checkpoint import read_model
from tests.helpers.quick_metrics import measure, pooled
from tests.helpers.tiny import ROOT


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
    from skimage.metrics import peak_signal_noise_ratio
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    model, crops, folder = pictures
    weights = networks / "lpips_alex.safetensors"
    ours = measure({"teacher": model}, crops, tmp_path, lpips_metric=load_lpips(weights))
    pairs = saved_pairs(folder)
    assert len(pairs) == len(crops) == 10

    psnr = [peak_signal_noise_ratio(original, decoded) for decoded, original in pairs]
    assert ours.scores["teacher"]["psnr_db"] == pytest.approx(np.mean(psnr), abs=1e-4)
    # As the DC-AE authors' figures.
    ssim = StructuralSimilarityIndexMeasure(data_range=(0.0, 255.0))
    for pair in pairs:
        ssim.update(*(torch.from_numpy(x).permute(2, 0, 1)[None].double() for x in pair))
    assert ours.scores["teacher"]["ssim"] == pytest.approx(ssim.compute().item(), abs=1e-4)

    # The package's own heads and way of reading pictures; only AlexNet's weights are given to it.
    metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    alexnet = {k: v for k, v in load_file(weights).items() if k.startswith("net.")}
    assert not metric.load_state_dict(alexnet, strict=False).unexpected_keys
    with torch.no_grad():
        theirs = [metric(*map(lpips.im2tensor, pair)).item() for pair in pairs]
    assert ours.scores["teacher"]["lpips"] == pytest.approx(np.mean(theirs), abs=1e-4)
    assert ours.values["teacher"]["lpips"] == pytest.approx(theirs, abs=1e-4)


def test_few_images_are_warned_of(
    pictures: tuple[DCAE, list[Crop], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, crops, _ = pictures
    for count in (11, 12):
        some = [*crops, *crops][:count]
        measure({"teacher": model}, some, tmp_path / str(count), networks=[pooled("fid")])
    printed = capsys.readouterr().out
    assert "warning: fid of 11 images, fewer than its 12 features: biased" in printed
    assert printed.count("warning") == 1


@pytest.fixture
def inception_file(
    pictures: tuple[DCAE, list[Crop], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A file as pytorch-fid's, where torch's cache has it: random weights, lively features."""
    from pytorch_fid import inception

    torch.manual_seed(0)
    with monkeypatch.context() as patch:  # what pytorch-fid builds, without its weights
        patch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_: None)
        network = inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics are those of the next batch
    images = to_model_range(torch.stack([load_crop(crop) for crop in pictures[1][::3]]))
    with torch.no_grad():
        network.train()(nn.functional.interpolate(images, (299, 299), mode="bilinear"))
    file = tmp_path / "torch_home/hub/checkpoints/pt_inception-2015-12-05-6726825d.pth"
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    return file


@pytest.mark.slow
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
    size = crops[0].size
    write_fid_inputs(tmp_path, weights=inception_file, stats=None, resolution=size)
    network = inception_network(tmp_path / INCEPTION, None, size)
    ours = measure({"teacher": model}, crops, tmp_path, networks=[network])
    assert "warning: fid of 10 images, fewer than its 2048 features" in capsys.readouterr().out

    monkeypatch.setenv("TORCH_HOME", str(inception_file.parents[2]))
    paths = [str(folder / name) for name in ("decoded", "original")]
    theirs = calculate_fid_given_paths(paths, 5, "cpu", 2048, num_workers=0)
    assert theirs > 1
    assert ours.scores["teacher"]["fid"] == pytest.approx(theirs, rel=1e-2)

    # The originals' statistics give the same as `eval.fid_stats`.
    originals = Moments(2048)
    originals.update(load_file(tmp_path / "state/shard_00000.safetensors")["/fid"].numpy())
    kept = tmp_path / "kept.npz"
    originals.statistics().save(kept, resolution=size)
    write_fid_inputs(tmp_path, weights=inception_file, stats=kept, resolution=size)
    (tmp_path / LITE0).symlink_to(networks / LITE0)
    _, given = frechet_networks(tmp_path, fid=True, resolution=size, stats=tmp_path / FID_STATS)
    again = measure({"teacher": model}, crops, tmp_path / "again", networks=[given])
    assert again.scores["teacher"]["fid"] == pytest.approx(ours.scores["teacher"]["fid"])


def test_gap_and_recovery() -> None:
    scores = {
        "teacher": {"psnr_db": 30.0, "lpips": 0.1},
        "pruned": {"psnr_db": 20.0, "lpips": 0.5},
        "student": {"psnr_db": 29.0, "lpips": 0.2},
    }
    expected = {"psnr_db": -1.0, "lpips": 0.1, "psnr_db_recovered": 0.9, "lpips_recovered": 0.75}
    assert gap_to_teacher(scores) == pytest.approx(expected)


def test_a_student_whose_encoder_was_trained_encodes_for_itself(
    pictures: tuple[DCAE, list[Crop], Path], networks: Path, tmp_path: Path
) -> None:
    teacher, crops, _ = pictures
    student = DCAE(teacher.config)
    student.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        student.encoder.stages[1].op_list[0].main.conv1.conv.weight.mul_(1.1)
    lpips_metric = load_lpips(networks / "lpips_alex.safetensors")
    models = {"teacher": teacher, "pruned": teacher, "student": student}
    together = measure(models, crops[:2], tmp_path / "together", lpips_metric=lpips_metric)
    alone = measure({"student": student}, crops[:2], tmp_path / "alone", lpips_metric=lpips_metric)
    assert together.scores["student"] == alone.scores["student"]
    assert together.scores["student"] != together.scores["teacher"] == together.scores["pruned"]
