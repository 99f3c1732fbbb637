"""What is measured on calibration images."""

import pytest
import torch
from torch import Tensor

from dcde.data.crops import load_images
from dcde.data.folder import Photo
from dcde.metrics.lpips import untrained_lpips
from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE
from dcde.prune.calibrate import input_energy, picture_scores


@pytest.fixture(scope="module")
def images(photo_list: tuple[Photo, ...]) -> Tensor:
    return load_images(photo_list, 64)


def test_energy_is_the_mean_square_of_what_a_layer_reads(tiny_model: DCAE, images: Tensor) -> None:
    with torch.no_grad():
        latent = tiny_model.encode(images)
        _, features = tiny_model.decode(latent, ("stage1", "act"))
    energy = input_energy(tiny_model, latent.split(2))
    last = features["stage1"].square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(energy["project_out.op_list.0"], last)
    read = features["act"].square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(energy["project_out.op_list.2.conv.conv"], read)
    assert not any(module._forward_pre_hooks for module in tiny_model.modules())


def test_scores_are_those_of_the_pictures(tiny_model: DCAE, images: Tensor) -> None:
    metric = untrained_lpips()
    with torch.no_grad():
        latents = [tiny_model.encode(batch) for batch in images.split(2)]
        found = picture_scores(tiny_model, latents, images, metric)
        pictures = tiny_model(images).clamp(-1, 1)
        lpips = metric(pictures, images).mean().item()
    assert found["psnr_db"] == pytest.approx(mean_psnr_db([pictures], [images]), abs=1e-4)
    assert found["lpips"] == pytest.approx(lpips, rel=1e-4)
