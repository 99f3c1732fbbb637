"""Choose the blocks of each stage that the student keeps, by place or by measured influence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE
from dcde.model.blocks import OpSequential

ByPlace = Literal["direct", "gap", "random", "last"]
"""Ways to choose blocks that look at no weight; `random` blocks fill the places of `direct`."""
Kept = tuple[tuple[int, ...], ...]
"""For each stage of the decoder, the places of the teacher's blocks that the student keeps."""


def evenly(total: int, kept: int) -> tuple[int, ...]:
    """Return `kept` of `total` places at even intervals, including both ends.

    >>> evenly(10, 3)
    (0, 4, 9)
    """
    return tuple(i * (total - 1) // (kept - 1) for i in range(kept)) if kept > 1 else (0,) * kept


def kept_by_place(depths: Sequence[int], depth_list: Sequence[int], method: ByPlace) -> Kept:
    """Choose blocks by their place in the stage alone."""
    pairs = zip(depths, depth_list, strict=True)
    if method == "gap":
        return tuple(evenly(total, kept) for total, kept in pairs)
    if method == "last":
        return tuple(tuple(range(total - kept, total)) for total, kept in pairs)
    return tuple(tuple(range(kept)) for _, kept in pairs)


@dataclass(frozen=True)
class BlockInfluence:
    """One block of the decoder, by stage and place among the stage's blocks."""

    stage: int
    place: int
    output_change: float
    """LPIPS + L1 between the decoder's images with and without the block."""
    psnr_loss_db: float
    """Loss of PSNR against the originals without the block."""

    @property
    def name(self) -> str:
        return f"stage{self.stage}.{self.place}"


def kept_by_influence(depth_list: Sequence[int], blocks: Sequence[BlockInfluence]) -> Kept:
    """Choose the blocks of each stage that change the output most; ties keep the earlier block."""
    kept = []
    for stage, count in enumerate(depth_list):
        places = {b.place: b.output_change for b in blocks if b.stage == stage}
        ranked = sorted(places, key=lambda place: (-places[place], place))
        kept.append(tuple(sorted(ranked[:count])))
    return tuple(kept)


@torch.inference_mode()
def block_influence(
    model: DCAE, images: Tensor, lpips_metric: nn.Module, *, batch_size: int = 8
) -> list[BlockInfluence]:
    """Measure every block of the decoder on (B, 3, H, W) images in [-1, 1], in decoding order."""
    batches = images.split(batch_size)
    latents = [model.encode(batch) for batch in batches]
    whole = [model.decode(latent) for latent in latents]
    psnr = mean_psnr_db(whole, batches)
    found = []
    for i in reversed(range(len(model.decoder.stages))):
        stage = model.decoder.stages[i]
        assert isinstance(stage, OpSequential)
        first = model.config.decoder.first_block(i)
        for j in range(first, len(stage.op_list)):
            block = stage.op_list[j]
            stage.op_list[j] = nn.Identity()
            without = [model.decode(latent) for latent in latents]
            stage.op_list[j] = block
            change = [
                lpips_metric(a, b).flatten() + (a - b).abs().mean(dim=(1, 2, 3))
                for a, b in zip(without, whole, strict=True)
            ]
            found.append(
                BlockInfluence(
                    stage=i,
                    place=j - first,
                    output_change=torch.cat(change).mean().item(),
                    psnr_loss_db=psnr - mean_psnr_db(without, batches),
                )
            )
    return found
