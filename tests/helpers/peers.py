"""The published architectures, thin and shallow, to compare implementations on."""

from __future__ import annotations

from torch import Tensor

from dcde.model import DCAE, DCAEConfig, DecoderConfig, EncoderConfig, zoo_config
from tests.helpers.tiny import randomize


def scaled_down(name: str, latent_channels: int) -> DCAEConfig:
    """A named architecture with its blocks and stages, but thin and shallow."""
    full = zoo_config(name)
    n = len(full.encoder.widths)
    widths = tuple(32 if i < n // 2 else 64 for i in range(n))

    def shallow(depths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(min(d, 2) for d in depths)

    return DCAEConfig(
        name=name,
        latent_channels=latent_channels,
        encoder=EncoderConfig(
            **{
                **full.encoder.model_dump(),
                "widths": widths,
                "depths": shallow(full.encoder.depths),
            }
        ),
        decoder=DecoderConfig(
            **{
                **full.decoder.model_dump(),
                "widths": widths,
                "depths": shallow(full.decoder.depths),
            }
        ),
    )


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


PEERS = [
    ("dc-ae-f32c32-in-1.0", 32),
    ("dc-ae-f32c32-sana-1.0", 32),
    ("dc-ae-f64c128-in-1.0", 64),
    ("dc-ae-lite-f32c32", 32),
]


def random_model(name: str, latent_channels: int) -> DCAE:
    model = DCAE(scaled_down(name, latent_channels))
    randomize(model)
    return model.eval()
