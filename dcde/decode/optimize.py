"""The decoder as one would deploy it: the same function, with less work around its convolutions.

What diffusers' and the plain decoder spend beyond the multiplications, and what is done here:

- Batch norms are folded into the convolutions before them.
- Maps stay channels-last throughout, in which convolutions compute anyway: nothing is permuted
  around RMS norms, 1x1 convolutions are matrix products (on CPUs oneDNN's own 1x1 convolutions,
  which are faster there), and pixel shuffles copy whole rows.
- The shortcut around upsampling repeats channels, which is a 1x1 convolution of ones: it joins the
  middle tap of the 3x3 convolution beside it.
- Attention stays in the decoder's precision: its sums over positions overflow fp16, not bf16.
- Activations and residual sums are in place.
"""

from __future__ import annotations

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
from dcde.model.diffusers_peer import from_diffusers_model
from dcde.model.fold import fold_norms


def optimize(
    model: Any,
    *,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    tile_size: int | None = None,
) -> FusedDecoder:
    """The model's decoder for inference, on the device that it is on; the model is left alone.

    In fp32 its images are within a relative 1e-5 of the plain decoder's on a CPU. In bf16 they are
    at most twice as far from fp32 as the plain decoder's in bf16.

    A pipeline of diffusers decodes with it after `pipe.vae.decoder = dcde.optimize(pipe.vae)`. It
    is saved before that: `save_pretrained` raises a ValueError afterwards.

    Args:
        model: in eval mode; ours, or diffusers' `AutoencoderDC`.
        dtype: float32 or bfloat16; latents are converted to it, images are in it. None: that of the
            model's weights.
        compile: torch.compile: a minute or more at the first image of each size, then quicker.
        tile_size: decode images that are larger in tiles of so many pixels (see `decode_tiled`).

    Raises:
        ValueError: for another kind of model, one whose decoder was put in place by this function,
            for another dtype (sums of attention overflow float16), in training mode, or for
            `compile` with `tile_size`, as tiles have many sizes.
        NotExpressibleError: naming the field of diffusers' configuration that ours can't express.
    """
    if isinstance(getattr(model, "decoder", None), FusedDecoder):
        raise ValueError("model: its decoder is optimized already, expected one as it was loaded")
    if isinstance(model, DCAE):
        ours = model
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
    dtype = dtype or next(ours.decoder.parameters()).dtype
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype: found {dtype}, expected torch.float32 or torch.bfloat16")
    if compile and tile_size is not None:
        raise ValueError("compile and tile_size: found both, expected one of them")
    decoder = FusedDecoder(ours, dtype, tile_size).requires_grad_(False).eval()
    if compile:
        decoder.compile()
    return decoder


def decode_tiled(decoder: FusedDecoder, latent: Tensor, *, tile_size: int = 512) -> Tensor:
    """As `decoder(latent)`, in bounded memory (see `dcde.decode.tiles`).

    Args:
        decoder: as `optimize` returns it.
        latent: (B, latent_channels, h, w).
        tile_size: side of the image's tiles in pixels.
    """
    return run_in_tiles(decoder.steps, decoder.downsampling, latent, tile_size)


class FusedDecoder(nn.Module):
    """The decoder as operations that run one after the other.

    Args:
        tile_size: in pixels, beyond which images are decoded in tiles; None: never.
    """

    def __init__(self, model: DCAE, dtype: torch.dtype, tile_size: int | None = None) -> None:
        super().__init__()
        self.tile_size = tile_size
        decoder = fold_norms(model.decoder).to(dtype)
        self.downsampling = model.config.downsampling
        ops: list[FusedOp] = [FusedInput(decoder.project_in)]
        for stage in reversed(decoder.stages):
            assert isinstance(stage, OpSequential)
            for op in stage.op_list:
                ops += _fuse(op)
        norm, act, out = decoder.project_out.op_list
        ops.append(FusedNorm(norm, act))
        ops.append(FusedConv(out) if isinstance(out, ConvLayer) else FusedUpsample(out, None))
        self.ops = nn.ModuleList(ops)
        self.register_state_dict_pre_hook(_refuse_saving)

    @property
    def steps(self) -> list[FusedOp]:
        """The operations in their order."""
        return cast(list[FusedOp], list(self.ops))

    @torch.no_grad()
    def forward(self, latent: Tensor) -> Tensor:
        """(B, latent_channels, h, w) to (B, 3, h * f, w * f), about [-1, 1], not clamped."""
        side = max(latent.shape[2:]) * self.downsampling
        if self.tile_size is not None and side > self.tile_size:
            return decode_tiled(self, latent, tile_size=self.tile_size)
        x = latent
        for op in self.steps:
            x = op(x)
        return x


def _refuse_saving(*_: Any) -> None:
    """Stop diffusers from saving weights that no decoder could be loaded from."""
    raise ValueError(
        "decoder: found one that dcde.optimize made, whose weights can't be saved; save the model "
        "before optimizing it, or load it again"
    )


def _fuse(op: nn.Module) -> list[FusedOp]:
    """A block or upsampling of a stage."""
    if isinstance(op, EfficientViTBlock):
        attention, glu = op.context_module.main, op.local_module.main
        assert isinstance(attention, LiteMLA) and isinstance(glu, GLUMBConv)
        return [FusedAttention(attention), FusedGLU(glu)]
    assert isinstance(op, Residual)
    if isinstance(op.main, ResBlock):
        return [FusedResBlock(op.main)]
    return [FusedUpsample(op.main, op.shortcut)]
