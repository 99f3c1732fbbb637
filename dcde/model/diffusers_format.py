"""Translate names and configuration to and from diffusers' `AutoencoderDC`.

Its configuration has no inner widths; models with some are of a subclass of ours (see
`dcde.model.narrow_autoencoder_dc`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dcde.model.spec import (
    HEAD_DIM,
    BlockType,
    DCAEConfig,
    DecoderConfig,
    EncoderConfig,
    StageConfig,
)


class NotExpressibleError(ValueError):
    """A model of diffusers' class that ours can't express; the message names the reason."""


_NAME = "_dcde_name"
"""Our model's name in config.json; diffusers ignores keys that start with an underscore."""
_RES, _EFFICIENT_VIT = "ResBlock", "EfficientViTBlock"
CLASS, NARROW_CLASS = "AutoencoderDC", "NarrowAutoencoderDC"
"""The second class is ours."""
NARROW_MODULE = "narrow_autoencoder_dc"
_INNER = "decoder_inner_channels"
_AUTO_MAP = {"AutoModel": f"{NARROW_MODULE}.{NARROW_CLASS}"}
_SIDE_FIELDS = ("block_types", "block_out_channels", "layers_per_block", "qkv_multiscales")
_NORMS = {"batch_norm": "bn2d", "rms_norm": "trms2d"}
_UPSAMPLE = {"pixel_shuffle": "ConvPixelShuffle", "interpolate": "InterpolateConv"}
_DOWNSAMPLE = {"pixel_unshuffle": "ConvPixelUnshuffle", "conv": "Conv"}
_SCALES: tuple[list[int], ...] = ([], [5])
_FIXED = {
    "in_channels": 3,
    "attention_head_dim": HEAD_DIM,
    "encoder_out_shortcut": True,
    "decoder_in_shortcut": True,
}
"""Fields for which our model has a single value."""
_READ = (
    *(f"{side}_{field}" for side in ("encoder", "decoder") for field in _SIDE_FIELDS),
    *("latent_channels", "scaling_factor", "upsample_block_type", "downsample_block_type"),
    *("decoder_norm_types", "decoder_act_fns", "decoder_conv_act_fn"),
)

_IN_BLOCK = (
    (r"context_module\.main\.qkv\.conv\.", "attn.to_qkv."),
    (r"context_module\.main\.aggreg\.0\.0\.", "attn.to_qkv_multiscale.0.proj_in."),
    (r"context_module\.main\.aggreg\.0\.1\.", "attn.to_qkv_multiscale.0.proj_out."),
    (r"context_module\.main\.proj\.conv\.", "attn.to_out."),
    (r"context_module\.main\.proj\.norm\.", "attn.norm_out."),
    (r"local_module\.main\.inverted_conv\.conv\.", "conv_out.conv_inverted."),
    (r"local_module\.main\.depth_conv\.conv\.", "conv_out.conv_depth."),
    (r"local_module\.main\.point_conv\.conv\.", "conv_out.conv_point."),
    (r"local_module\.main\.point_conv\.norm\.", "conv_out.norm."),
    (r"main\.conv([12])\.conv\.", r"conv\1."),
    (r"main\.conv2\.norm\.", "norm."),
    (r"main\.(conv\.)+", "conv."),  # down- and upsampling
)


def diffusers_key(key: str, config: DCAEConfig) -> str:
    """Return our tensor's name in diffusers; for `qkv`, the common stem `...attn.to_qkv.weight`."""
    side, rest = key.split(".", 1)
    outer = "conv." if getattr(config, side).first_stage else ""
    if match := re.fullmatch(r"stages\.(\d+)\.op_list\.(\d+)\.(.*)", rest):
        stage, position, name = match.groups()
        for pattern, replacement in _IN_BLOCK:
            name, hits = re.subn("^" + pattern, replacement, name)
            if hits:
                break
        blocks = "down_blocks" if side == "encoder" else "up_blocks"
        return f"{side}.{blocks}.{stage}.{position}.{name}"
    name = rest.rsplit(".", 1)[1]
    if side == "encoder":
        return f"encoder.conv_{f'in.{outer}' if rest.startswith('project_in') else 'out.'}{name}"
    if rest.startswith("project_in"):
        return f"decoder.conv_in.{name}"
    if rest.startswith("project_out.op_list.0"):
        return f"decoder.norm_out.{name}"
    return f"decoder.conv_out.{outer}{name}"


def from_diffusers(
    state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], config: DCAEConfig
) -> dict[str, Tensor]:
    """Rename diffusers' tensors; unknown ones keep their names.

    Args:
        shapes: our model's; diffusers stores some 1x1 convolutions as matrices.
    """
    left = dict(state)
    ours: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        name = diffusers_key(key, config)
        parts = (
            [name.replace("to_qkv.", f"to_{p}.") for p in "qkv"] if ".to_qkv." in name else [name]
        )
        if all(part in left for part in parts):
            found = [left.pop(part) for part in parts]
            tensor = torch.cat(found) if len(found) > 1 else found[0]
            ours[key] = tensor.reshape(shape) if tensor.numel() == shape.numel() else tensor
    return ours | left


def to_diffusers(state: Mapping[str, Tensor], config: DCAEConfig) -> dict[str, Tensor]:
    """Reverse `from_diffusers`."""
    theirs: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = diffusers_key(key, config)
        if ".to_qkv." in name:
            for part, rows in zip("qkv", tensor.flatten(1).chunk(3), strict=True):
                theirs[name.replace("to_qkv.", f"to_{part}.")] = rows.clone()
        else:
            theirs[name] = tensor.flatten(1) if ".attn.to_out." in name else tensor
    return theirs


def config_from_diffusers(raw: Mapping[str, Any], name: str) -> DCAEConfig:
    """Read diffusers' config.json; `name` is for files that we did not write.

    Raises:
        NotExpressibleError, pydantic.ValidationError: for a field that is missing or unknown, or a
            value that our model can't express.
    """
    for field in _READ:
        if field not in raw and field != "decoder_conv_act_fn":  # older than that field: relu
            raise NotExpressibleError(f"{field}: missing")
    for field, only in _FIXED.items():
        _check(field, raw.get(field, only), [only])
    ours = (_INNER, "auto_map") if raw.get("_class_name") == NARROW_CLASS else ()
    for field in raw:
        if field not in (*_FIXED, *_READ, *ours) and not field.startswith("_"):
            raise NotExpressibleError(f"{field}: unknown, it may change what the model computes")

    def side(prefix: str) -> dict[str, Any]:
        widths = _per_stage(raw, f"{prefix}_block_out_channels")
        n = len(widths)
        types = _per_stage(raw, f"{prefix}_block_types", n)
        scales = _per_stage(raw, f"{prefix}_qkv_multiscales", n)
        for kind, scale in zip(types, scales, strict=True):
            _check(f"{prefix}_block_types", kind, [_RES, _EFFICIENT_VIT])
            _check(f"{prefix}_qkv_multiscales", scale, _SCALES)
        return {
            "widths": widths,
            "depths": _per_stage(raw, f"{prefix}_layers_per_block", n),
            "block_types": tuple(_block_type(t, s) for t, s in zip(types, scales, strict=True)),
        }

    decoder = side("decoder")
    n = len(decoder["widths"])
    norms = _per_stage(raw, "decoder_norm_types", n)
    for kind, norm in zip(decoder["block_types"], norms, strict=True):
        _check("decoder_norm_types", norm, list(_NORMS) if kind == "R" else ["rms_norm"])
    return DCAEConfig(
        name=raw.get(_NAME, name),
        latent_channels=raw["latent_channels"],
        scaling_factor=raw["scaling_factor"],
        encoder=EncoderConfig(
            **side("encoder"),
            downsample=_one_of("downsample_block_type", raw, _DOWNSAMPLE),  # type: ignore[arg-type]
        ),
        decoder=DecoderConfig(
            **decoder,
            norms=tuple(_NORMS[norm] for norm in norms),  # type: ignore[misc]
            acts=tuple(_per_stage(raw, "decoder_act_fns", n)),
            upsample=_one_of("upsample_block_type", raw, _UPSAMPLE),  # type: ignore[arg-type]
            out_act=raw.get("decoder_conv_act_fn", "relu"),
            inner_widths=raw.get(_INNER),
        ),
    )


def config_to_diffusers(config: DCAEConfig) -> dict[str, Any]:
    """Reverse `config_from_diffusers`."""

    def side(prefix: str, stages: StageConfig) -> dict[str, Any]:
        types = stages.block_types
        return {
            f"{prefix}_block_types": [_RES if t == "R" else _EFFICIENT_VIT for t in types],
            f"{prefix}_block_out_channels": list(stages.widths),
            f"{prefix}_layers_per_block": list(stages.depths),
            f"{prefix}_qkv_multiscales": [[5] if t == "S" else [] for t in types],
        }

    encoder, decoder = config.encoder, config.decoder
    norm_names = _reversed(_NORMS)
    raw = {
        "_class_name": CLASS,
        _NAME: config.name,
        "latent_channels": config.latent_channels,
        "attention_head_dim": HEAD_DIM,
        **side("encoder", encoder),
        **side("decoder", decoder),
        "downsample_block_type": _reversed(_DOWNSAMPLE)[encoder.downsample],
        "upsample_block_type": _reversed(_UPSAMPLE)[decoder.upsample],
        # Our attention blocks always have RMS norms; diffusers' have the stage's norm.
        "decoder_norm_types": [
            norm_names[norm] if kind == "R" else "rms_norm"
            for kind, norm in zip(decoder.block_types, decoder.norms, strict=True)
        ],
        "decoder_act_fns": list(decoder.acts),
        "decoder_conv_act_fn": decoder.out_act,
        "scaling_factor": config.scaling_factor,
    }
    if decoder.inner_widths is not None:
        raw |= {"_class_name": NARROW_CLASS, "auto_map": _AUTO_MAP}
        raw[_INNER] = list(decoder.inner_widths)
    return raw


def _check(field: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        expected = " or ".join(map(repr, allowed))
        raise NotExpressibleError(f"{field}: found {value!r}, expected {expected}")


def _one_of(field: str, raw: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return our name for a field's value."""
    _check(field, raw[field], list(names))
    return names[raw[field]]


def _reversed(names: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in names.items()}


def _per_stage(raw: Mapping[str, Any], field: str, n: int | None = None) -> list[Any]:
    """Return a field's list, with an entry for each of n stages; a single name is for all."""
    value = [raw[field]] * (n or 0) if isinstance(raw[field], str) else raw[field]
    if not isinstance(value, list) or n not in (None, len(value)):
        expected = "a list" if n is None else f"a list of {n}, one for each stage"
        raise NotExpressibleError(f"{field}: found {value!r}, expected {expected}")
    return value


def _block_type(name: str, scales: list[int]) -> BlockType:
    return "R" if name == _RES else "S" if scales else "E"
