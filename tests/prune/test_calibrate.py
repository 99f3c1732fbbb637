"""What is measured on calibration images, and batch-norm statistics estimated anew from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dcde.data.crops import load_images
from dcde.data.folder import Photo
from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE
from dcde.model.sources import load_model
from dcde.prune.calibrate import input_energy, recalibrate


@pytest.fixture(scope="module")
def images(photo_list: tuple[Photo, ...]) -> Tensor:
    return load_images(photo_list, 64)


def test_energy_is_the_mean_square_of_what_a_layer_reads(tiny_model: DCAE, images: Tensor) -> None:
    energy = input_energy(tiny_model, images, batch_size=2)
    with torch.no_grad():
        _, features = tiny_model.decode(tiny_model.encode(images), ("stage1", 3))
    last = features["stage1"].square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(energy["project_out.op_list.0"], last)
    read = features[3].square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(energy["project_out.op_list.2.conv.conv"], read)
    assert not any(module._forward_pre_hooks for module in tiny_model.modules())


def test_recalibration_mends_wrong_statistics_and_nothing_else(images: Tensor) -> None:
    model = load_model("bundled:dc-ae-f16c16-photos")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        right = mean_psnr_db([model(images)], [images])
    norms = [m for m in model.decoder.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean += 3 * norm.running_var.sqrt()
        norm.running_var /= 2
    gain = recalibrate(model, images, batch_size=5)
    assert gain["psnr_db_before_recalibration"] < right - 3
    assert gain["psnr_db_after_recalibration"] == pytest.approx(right, abs=1)
    assert norms and not any(module.training for module in model.modules())
    for name, tensor in model.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, before[name]), name


def test_recalibration_forgets_the_old_statistics(tiny_model: DCAE, images: Tensor) -> None:
    def estimated(scale: float) -> list[Tensor]:
        for norm in norms:
            assert norm.running_var is not None
            norm.running_var.fill_(scale)
        recalibrate(tiny_model, images, batch_size=2)
        return [norm.running_var.clone() for norm in norms if norm.running_var is not None]

    norms = [m for m in tiny_model.decoder.modules() if isinstance(m, nn.BatchNorm2d)]
    for a, b in zip(estimated(1.0), estimated(9.0), strict=True):
        assert torch.equal(a, b)


def test_psnr_of_known_errors() -> None:
    original = torch.zeros(2, 3, 4, 4)
    image = torch.stack([original[0] + 0.2, original[1] + 3.0])  # clamped to 1
    expected = (10 * torch.log10(torch.tensor([4 / 0.04, 4.0]))).mean().item()
    assert mean_psnr_db([image], [original]) == pytest.approx(expected, rel=1e-5)
