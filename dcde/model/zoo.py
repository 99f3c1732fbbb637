"""Named architectures: those of the published checkpoints, and the bundled teacher's."""

from __future__ import annotations

import re
from collections.abc import Callable

from dcde.model.spec import (
    ActType,
    BlockType,
    DCAEConfig,
    DecoderConfig,
    EncoderConfig,
    NormType,
)

_R: BlockType = "R"
_E: BlockType = "E"
_BN: NormType = "bn2d"
_RMS: NormType = "trms2d"
_RELU: ActType = "relu"
_SILU: ActType = "silu"


def _deep(name: str, latent_channels: int, extra_widths: tuple[int, ...] = ()) -> DCAEConfig:
    """dc-ae-f32c32-in and its deeper relatives: 3 R stages, then E stages."""
    widths = (128, 256, 512, 512, 1024, 1024, *extra_widths)
    n_attention = len(widths) - 3
    block_types = (_R,) * 3 + (_E,) * n_attention
    return DCAEConfig(
        name=name,
        latent_channels=latent_channels,
        encoder=EncoderConfig(
            block_types=block_types, widths=widths, depths=(0, 4, 8) + (2,) * n_attention
        ),
        decoder=DecoderConfig(
            block_types=block_types,
            widths=widths,
            depths=(0, 5, 10) + (2,) * n_attention,
            norms=(_BN,) * 3 + (_RMS,) * n_attention,
            acts=(_RELU,) * 3 + (_SILU,) * n_attention,
        ),
    )


_SANA_WIDTHS = (128, 256, 512, 512, 1024, 1024)
_SANA_ENCODER = EncoderConfig(
    block_types=("R", "R", "R", "S", "S", "S"),
    widths=_SANA_WIDTHS,
    depths=(2, 2, 2, 3, 3, 3),
    downsample="Conv",
)
_SANA_SCALING_FACTOR = 0.41407


def _sana(name: str) -> DCAEConfig:
    return DCAEConfig(
        name=name,
        latent_channels=32,
        encoder=_SANA_ENCODER,
        decoder=DecoderConfig(
            block_types=("R", "R", "R", "S", "S", "S"),
            widths=_SANA_WIDTHS,
            depths=(3, 3, 3, 3, 3, 3),
            norms=("trms2d",) * 6,
            acts=("silu",) * 6,
            upsample="InterpolateConv",
        ),
        scaling_factor=_SANA_SCALING_FACTOR,
    )


def _lite(name: str) -> DCAEConfig:
    """DC-AE-Lite (DC-Gen): the Sana encoder with an all-residual decoder."""
    return DCAEConfig(
        name=name,
        latent_channels=32,
        encoder=_SANA_ENCODER,
        decoder=DecoderConfig(
            block_types=("R",) * 6,
            widths=_SANA_WIDTHS,
            depths=(0, 3, 5, 4, 4, 4),
            norms=("trms2d",) * 6,
            acts=("silu",) * 6,
            out_act="silu",
        ),
        scaling_factor=_SANA_SCALING_FACTOR,
    )


def _f16c16(name: str) -> DCAEConfig:
    """The bundled teacher: the blocks and the shape of the depth lists of dc-ae-f32c32-in."""
    block_types = (_R, _R, _R, _E, _E)
    widths = (16, 32, 64, 128, 128)
    return DCAEConfig(
        name=name,
        latent_channels=16,
        encoder=EncoderConfig(block_types=block_types, widths=widths, depths=(0, 2, 4, 2, 2)),
        decoder=DecoderConfig(
            block_types=block_types,
            widths=widths,
            depths=(0, 5, 10, 2, 2),
            norms=(_BN,) * 3 + (_RMS,) * 2,
            acts=(_RELU,) * 3 + (_SILU,) * 2,
        ),
    )


_BUILDERS: dict[str, Callable[[str], DCAEConfig]] = {
    "dc-ae-f32c32-in-1.0": lambda name: _deep(name, 32),
    "dc-ae-f32c32-mix-1.0": lambda name: _deep(name, 32),
    "dc-ae-f64c128-in-1.0": lambda name: _deep(name, 128, (2048,)),
    "dc-ae-f64c128-mix-1.0": lambda name: _deep(name, 128, (2048,)),
    "dc-ae-f128c512-in-1.0": lambda name: _deep(name, 512, (2048, 2048)),
    "dc-ae-f128c512-mix-1.0": lambda name: _deep(name, 512, (2048, 2048)),
    "dc-ae-f32c32-sana-1.0": _sana,
    "dc-ae-f32c32-sana-1.1": _sana,
    "dc-ae-lite-f32c32": _lite,
    "dc-ae-f16c16-photos": _f16c16,
}


def zoo_names() -> list[str]:
    return list(_BUILDERS)


STUDENT_DEPTHS: dict[str, tuple[int, ...]] = {
    "w3-v2": (0, 5, 10, 1, 1, 2),
    "w4-v1": (0, 3, 5, 2, 2, 2),
    "w4-v2": (0, 3, 5, 1, 1, 2),
    "w4-v3": (0, 1, 2, 1, 1, 2),
    "w4-v4": (0, 5, 10, 1, 1, 2),
    "w4-v8": (0, 3, 5, 2, 2, 2),
    "w4-v25": (0, 1, 2, 1, 1, 2),
}
"""Decoder depths of the published students of dc-ae-f32c32, by the end of their names."""
_STUDENTS_OF = ("dc-ae-f32c32-in-1.0", "dc-ae-f32c32-mix-1.0")


def zoo_config(name: str) -> DCAEConfig:
    """The configuration of a named architecture, or of a published student of one.

    Students are named `<teacher>-w4-v3` or `<teacher>-pruned-w4-v3`.

    Raises:
        KeyError: for a name that the zoo does not have; the message lists those it has.
    """
    if name in _BUILDERS:
        return _BUILDERS[name](name)
    match = re.fullmatch(r"(.+?)(?:-pruned)?-(w\d+-v\d+)", name)
    if match and match[1] in _STUDENTS_OF and match[2] in STUDENT_DEPTHS:
        return zoo_config(match[1]).with_decoder_depths(STUDENT_DEPTHS[match[2]], name)
    raise KeyError(
        f"model name: found {name!r}, expected one of {', '.join(_BUILDERS)}, or a student "
        f"dc-ae-f32c32-in-1.0-<{'|'.join(STUDENT_DEPTHS)}>"
    )


def published_config(source: str) -> DCAEConfig | None:
    """The architecture of the model that a source names, `hf:<owner>/<name>[-diffusers]` say, where
    its name is in the zoo."""
    name = source.partition(":")[2].partition("@")[0].rpartition("/")[2]
    try:
        return zoo_config(name.removesuffix("-diffusers"))
    except KeyError:
        return None


def zoo_name(config: DCAEConfig) -> str | None:
    """The name by which `zoo_config` gives this architecture; of several, one of its family."""
    names = [config.name, *_BUILDERS]
    names += [f"{teacher}-{s}" for teacher in _STUDENTS_OF for s in STUDENT_DEPTHS]
    same = []
    for name in names:
        try:
            if zoo_config(name).model_copy(update={"name": config.name}) == config:
                same.append(name)
        except KeyError:  # the model's own name
            continue
    family = [name for name in same if config.name.startswith(name.partition("-w")[0])]
    return next(iter(family + same), None)
