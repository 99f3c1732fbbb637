"""Small real models, and running a command as a user would."""

import os
import subprocess
from pathlib import Path
from typing import Any, Literal

import skimage
import torch

from dcde.model import DCAE, DCAEConfig, DecoderConfig, EncoderConfig

ROOT = Path(__file__).parents[2]


SKIMAGE_DATA = Path(skimage.__file__).parent / "data"


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


def random_model(config: DCAEConfig, seed: int = 0) -> DCAE:
    model = DCAE(config)
    randomize(model, seed)
    return model.eval()


def compiled(model: torch.nn.Module, part: str) -> Any:
    """A model with torch.compile around a part of it; "": around all of it."""
    if not part:
        return torch.compile(model)
    model.set_submodule(part, torch.compile(model.get_submodule(part)))
    return model


def run(command: list[str], cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command, keeping what it prints."""
    env = {**os.environ, "PYTHONPATH": str(cwd), **extra}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def model_of(kinds: Any = "RES", norm: Any = "trms2d", upsample: Any = "ConvPixelShuffle") -> DCAE:
    """A small model with a kind of block for each stage, away from its initial weights."""
    config = DCAEConfig(
        name="small",
        latent_channels=4,
        encoder=EncoderConfig(block_types=("R",) * 4, widths=(4, 8, 8, 16), depths=(0, 1, 1, 1)),
        decoder=DecoderConfig(
            block_types=("R", *kinds),
            widths=(16, 32, 64, 64),
            depths=(0, 2, 1, 1),
            norms=("bn2d", norm, norm, norm),
            acts=("relu", "relu", "silu", "silu"),
            upsample=upsample,
        ),
    )
    return random_model(config)
