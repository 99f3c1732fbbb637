"""Named architectures: the published checkpoints, and the bundled teacher."""

from __future__ import annotations

import re

from dcde.model.spec import (
    ActType,
    BlockType,
    DCAEConfig,
    DecoderConfig,
    EncoderConfig,
    NormType,
)

_TYPES: tuple[BlockType, ...] = ("R", "R", "R", "E", "E", "E", "E", "E")
_NORMS: tuple[NormType, ...] = ("bn2d",) * 3 + ("trms2d",) * 5
_ACTS: tuple[ActType, ...] = ("relu",) * 3 + ("silu",) * 5
_SANA_TYPES: tuple[BlockType, ...] = ("R", "R", "R", "S", "S", "S")
_SANA_NORMS: tuple[NormType, ...] = ("trms2d",) * 6
_SANA_ACTS: tuple[ActType, ...] = ("silu",) * 6


def _config(
    name: str,
    latent_channels: int,
    widths: tuple[int, ...],
    encoder_depths: tuple[int, ...],
    decoder_depths: tuple[int, ...],
) -> DCAEConfig:
    """Return a model with the blocks of dc-ae-f32c32-in: 3 stages of R, then E."""
    n = len(widths)
    types, norms, acts = _TYPES[:n], _NORMS[:n], _ACTS[:n]
    return DCAEConfig(
        name=name,
        latent_channels=latent_channels,
        encoder=EncoderConfig(block_types=types, widths=widths, depths=encoder_depths),
        decoder=DecoderConfig(
            block_types=types, widths=widths, depths=decoder_depths, norms=norms, acts=acts
        ),
    )


def _deep(name: str, latent_channels: int, extra_widths: tuple[int, ...] = ()) -> DCAEConfig:
    """Return dc-ae-f32c32-in or one of its deeper relatives."""
    widths = (128, 256, 512, 512, 1024, 1024, *extra_widths)
    twos = (2,) * (len(widths) - 3)
    return _config(name, latent_channels, widths, (0, 4, 8, *twos), (0, 5, 10, *twos))


def _sana(
    name: str,
    widths: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024),
    encoder_depths: tuple[int, ...] = (2, 2, 2, 3, 3, 3),
    scaling_factor: float = 0.41407,
) -> DCAEConfig:
    """Return Sana's autoencoder or a relative of it."""
    n = len(widths)
    types = _SANA_TYPES[:n]
    return DCAEConfig(
        name=name,
        latent_channels=32,
        encoder=EncoderConfig(
            block_types=types, widths=widths, depths=encoder_depths, downsample="Conv"
        ),
        decoder=DecoderConfig(
            block_types=types,
            widths=widths,
            depths=(3,) * n,
            norms=_SANA_NORMS[:n],
            acts=_SANA_ACTS[:n],
            upsample="InterpolateConv",
        ),
        scaling_factor=scaling_factor,
    )


def _lite(name: str) -> DCAEConfig:
    """Return DC-AE-Lite (DC-Gen): Sana's encoder, and a decoder of residual blocks alone."""
    return _sana(name).with_decoder(
        name,
        block_types=("R",) * 6,
        depths=(0, 3, 5, 4, 4, 4),
        upsample="ConvPixelShuffle",
        out_act="silu",
    )


_ZOO = {
    config.name: config
    for config in (
        _deep("dc-ae-f32c32-in-1.0", 32),
        _deep("dc-ae-f32c32-mix-1.0", 32),
        _deep("dc-ae-f64c128-in-1.0", 128, (2048,)),
        _deep("dc-ae-f64c128-mix-1.0", 128, (2048,)),
        _deep("dc-ae-f128c512-in-1.0", 512, (2048, 2048)),
        _deep("dc-ae-f128c512-mix-1.0", 512, (2048, 2048)),
        _sana("dc-ae-f32c32-sana-1.0"),
        _sana("dc-ae-f32c32-sana-1.1"),
        _lite("dc-ae-lite-f32c32"),
        _lite("dc-ae-lite-f32c32-sana-1.1"),
        # The bundled teachers: a small dc-ae-f32c32-in and a small Sana, with one stage less.
        _config(
            "dc-ae-f16c16-photos", 16, (16, 32, 64, 128, 128), (0, 2, 4, 2, 2), (0, 5, 10, 2, 2)
        ),
        _sana("dc-ae-f16c32-sana-photos", (16, 32, 64, 128, 128), (1, 2, 2, 3, 3), 1.0),
    )
}


def zoo_names() -> list[str]:
    return list(_ZOO)


STUDENT_DEPTHS: dict[str, tuple[int, ...]] = {
    "w3-v2": (0, 5, 10, 1, 1, 2),
    "w4-v1": (0, 3, 5, 2, 2, 2),
    "w4-v2": (0, 3, 5, 1, 1, 2),
    "w4-v3": (0, 1, 2, 1, 1, 2),
    "w4-v4": (0, 5, 10, 1, 1, 2),
    "w4-v8": (0, 3, 5, 2, 2, 2),
    "w4-v25": (0, 1, 2, 1, 1, 2),
}
"""Decoder depths of dc-ae-f32c32's published students, by the end of their names."""
_STUDENTS_OF = ("dc-ae-f32c32-in-1.0", "dc-ae-f32c32-mix-1.0")


def zoo_config(name: str) -> DCAEConfig:
    """Return a named architecture, or the published student of one.

    Students are named `<teacher>-w4-v3` or `<teacher>-pruned-w4-v3`.

    Raises:
        KeyError: for an unknown name, with the known ones.
    """
    if name in _ZOO:
        return _ZOO[name]
    match = re.fullmatch(r"(.+?)(?:-pruned)?-(w\d+-v\d+)", name)
    if match and match[1] in _STUDENTS_OF and match[2] in STUDENT_DEPTHS:
        return zoo_config(match[1]).with_decoder_depths(STUDENT_DEPTHS[match[2]], name)
    raise KeyError(
        f"model name: found {name!r}, expected one of {', '.join(_ZOO)}, or a student "
        f"dc-ae-f32c32-in-1.0-<{'|'.join(STUDENT_DEPTHS)}>"
    )


def published_config(source: str) -> DCAEConfig | None:
    """Return the architecture of `hf:<owner>/<name>[-diffusers]`, if the zoo has the name."""
    name = source.partition(":")[2].partition("@")[0].rpartition("/")[2]
    try:
        return zoo_config(name.removesuffix("-diffusers"))
    except KeyError:
        return None
