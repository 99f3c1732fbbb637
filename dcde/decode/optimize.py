"""Optimize a decoder for inference: the same function, with less work around its convolutions.

- Batch norms are folded into the convolutions before them.
- Maps stay channels-last, as convolutions compute them: RMS norms need no permutation, 1x1
  convolutions are matrix products, and pixel shuffles copy whole rows.
- The shortcut around upsampling repeats channels, like a 1x1 convolution of ones: it becomes part
  of the 3x3 convolution beside it.
- A 3x3 convolution after nearest interpolation becomes four of 2x2 at the input's resolution.
- Attention stays in the decoder's precision, but in fp16, which its sums over positions overflow.
- Activations and residual sums are in place.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcde.decode.fused import (
    FusedAttention,
    FusedConv,
    FusedGLU,
    FusedInput,
    FusedNorm,
    FusedOp,
    FusedResBlock,
    FusedUpsample,
)
from dcde.decode.tiles import run_in_tiles
from dcde.model import DCAE
from dcde.model.blocks import (
    ConvLayer,
    EfficientViTBlock,
    GLUMBConv,
    LiteMLA,
    OpSequential,
    ResBlock,
    Residual,
)
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_peer import from_diffusers_model
from dcde.model.fold import fold_norms
from dcde.model.weights import plain_names


def optimize(
    model: Any,
    *,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    tile_size: int | None = None,
) -> FusedDecoder:
    """Return the model's decoder for inference, on its device; the model does not change.

    On a CPU, images in fp32 are within a relative 1e-5 of the plain decoder's. In bf16 and fp16
    they are at most twice as far from fp32 as the plain decoder's.

    In a diffusers pipeline, set `pipe.vae.decoder = dcde.optimize(pipe.vae)`. Save the pipeline
    first: afterwards, `save_pretrained` raises a ValueError.

    Args:
        model: ours or diffusers' `AutoencoderDC`, in eval mode, compiled or not.
        dtype: float32, bfloat16 or float16, of the weights and the images. None: as in the model.
        compile: use torch.compile: it takes a minute or more for the first image of each size.
        tile_size: decode larger images in tiles of this many pixels (see `decode_tiled`).

    Raises:
        ValueError: for another kind of model or one that is optimized or offloaded already, for
            another dtype, in training mode, for a `tile_size` below 1, or for `compile` with
            `tile_size`, as tiles have many sizes.
        NotExpressibleError: naming the field of diffusers' configuration that ours can't express.
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile(model)
    if isinstance(getattr(model, "decoder", None), FusedDecoder):
        raise ValueError("model: its decoder is optimized already, expected one as it was loaded")
    if isinstance(model, DCAE):
        ours = build_on_meta(model.config)
        ours.load_state_dict(plain_names(model.state_dict()), assign=True)
        ours.train(model.training)
    elif hasattr(model, "vae"):
        raise ValueError(
            f"model: found {type(model).__name__}, a whole pipeline, expected its autoencoder: "
            "pipe.vae"
        )
    elif hasattr(model, "config"):
        ours = from_diffusers_model(model)
    else:
        raise ValueError(
            f"model: found {type(model).__name__}, expected a DCAE or diffusers' AutoencoderDC"
        )
    _refuse_hooks(model.decoder)
    dtype = dtype or next(ours.decoder.parameters()).dtype
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(
            f"dtype: found {dtype}, expected torch.float32, torch.bfloat16 or torch.float16"
        )
    if compile and tile_size is not None:
        raise ValueError("compile and tile_size: found both, expected one of them")
    decoder = FusedDecoder(ours, dtype, tile_size).requires_grad_(False).eval()
    if compile:
        decoder.compile()
    return decoder


def decode_tiled(decoder: FusedDecoder, latent: Tensor, *, tile_size: int = 512) -> Tensor:
    """Return `decoder(latent)`, in bounded memory (see `dcde.decode.tiles`).

    Args:
        decoder: as `optimize` returns it.
        latent: (B, latent_channels, h, w).
        tile_size: side of the image's tiles in pixels.

    Raises:
        ValueError: for another decoder, another shape or a `tile_size` below 1.
    """
    decoder = getattr(decoder, "_orig_mod", decoder)  # of torch.compile(decoder)
    if not isinstance(decoder, FusedDecoder):
        raise ValueError(
            f"decoder: found {type(decoder).__name__}, expected one that dcde.optimize returned"
        )
    decoder.check(latent)
    _check_tile_size(tile_size)
    return run_in_tiles(decoder.steps, decoder.downsampling, latent, tile_size)


class FusedDecoder(nn.Module):
    """The decoder as a list of operations.

    Args:
        tile_size: larger images are decoded in tiles of this many pixels; None: never.
    """

    def __init__(self, model: DCAE, dtype: torch.dtype, tile_size: int | None = None) -> None:
        super().__init__()
        if tile_size is not None:
            _check_tile_size(tile_size)
        self.tile_size = tile_size
        self.latent_channels = model.config.latent_channels
        decoder = fold_norms(model.decoder)
        self.downsampling = model.config.downsampling
        ops: list[FusedOp] = [FusedInput(decoder.project_in)]
        for stage in reversed(decoder.stages):
            assert isinstance(stage, OpSequential)
            for op in stage.op_list:
                ops += _fuse(op)
        norm, act, out = decoder.project_out.op_list
        ops.append(FusedNorm(norm, act))
        ops.append(FusedConv(out) if isinstance(out, ConvLayer) else FusedUpsample(out, None))
        # Sums of weights are made in fp32, and rounded once.
        self.ops = nn.ModuleList(ops).to(dtype).to(memory_format=torch.channels_last)
        self.register_state_dict_pre_hook(_refuse_saving)

    @property
    def steps(self) -> list[FusedOp]:
        """Return the operations in order."""
        return cast(list[FusedOp], list(self.ops))

    def check(self, latent: Tensor) -> None:
        """Reject a latent of another shape, and weights that were cast since.

        Raises:
            ValueError: saying what was expected.
        """
        shape = list(latent.shape)
        if len(shape) != 4 or shape[1] != self.latent_channels or min(shape) < 1:
            raise ValueError(
                f"latent: found shape {shape}, expected (B, {self.latent_channels}, h, w)"
            )
        dtype = next(self.parameters()).dtype
        if dtype.itemsize == 1:
            raise ValueError(
                f"decoder: found weights in {dtype}, expected those of dcde.optimize, which has no "
                "layerwise casting: leave out enable_layerwise_casting"
            )

    @torch.no_grad()
    def forward(self, latent: Tensor) -> Tensor:
        """Decode (B, latent_channels, h, w) to (B, 3, h * f, w * f), about [-1, 1], not clamped."""
        self.check(latent)
        side = max(latent.shape[2:]) * self.downsampling
        if self.tile_size is not None and side > self.tile_size:
            return decode_tiled(self, latent, tile_size=self.tile_size)
        x = latent
        for op in self.steps:
            x = op(x)
        return x


def _check_tile_size(tile_size: int) -> None:
    if not isinstance(tile_size, Integral) or tile_size < 1:
        raise ValueError(f"tile_size: found {tile_size}, expected a whole number of pixels above 0")


def _refuse_hooks(decoder: nn.Module) -> None:
    """Stop where accelerate or diffusers moves or casts weights, which a copy would not have."""
    for module in decoder.modules():
        offloaded = hasattr(module, "_hf_hook") and any(p.is_meta for p in module.parameters())
        if offloaded or getattr(getattr(module, "_diffusers_hook", None), "hooks", None):
            raise ValueError(
                "model: its weights are offloaded or cast by hooks "
                "(enable_sequential_cpu_offload, enable_group_offload, enable_layerwise_casting), "
                "expected them in memory: call dcde.optimize first, then "
                "pipe.enable_model_cpu_offload"
            )


def _refuse_saving(*_: Any) -> None:
    """Stop diffusers from saving weights that no decoder could be loaded from."""
    raise ValueError(
        "decoder: found one that dcde.optimize made, whose weights can't be saved, nor moved one "
        "by one (enable_sequential_cpu_offload): save the pipeline before optimizing it, and "
        "offload it with enable_model_cpu_offload"
    )


def _fuse(op: nn.Module) -> list[FusedOp]:
    """Fuse a stage's block or upsampling."""
    if isinstance(op, EfficientViTBlock):
        attention, glu = op.context_module.main, op.local_module.main
        assert isinstance(attention, LiteMLA) and isinstance(glu, GLUMBConv)
        return [FusedAttention(attention), FusedGLU(glu)]
    assert isinstance(op, Residual)
    if isinstance(op.main, ResBlock):
        return [FusedResBlock(op.main)]
    return [FusedUpsample(op.main, op.shortcut)]
