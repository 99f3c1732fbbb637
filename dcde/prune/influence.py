"""What each block of a decoder does: how far it moves the stream, what dropping it costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE
from dcde.model.blocks import OpSequential


@dataclass(frozen=True)
class BlockInfluence:
    """One block of the decoder, by stage and its place among the stage's blocks."""

    stage: int
    block: int
    stream_change: float
    """Mean over positions of |block(x) - x| / |x|, norms over channels (as ShortGPT's block
    influence, arXiv 2403.03853, but with the length of the change rather than its angle)."""
    output_change: float
    """LPIPS + L1 between the decoder's images with and without the block."""
    psnr_loss_db: float
    """How much PSNR against the originals falls without the block."""

    @property
    def name(self) -> str:
        return f"stage{self.stage}.{self.block}"


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
            stage.op_list[j] = probe = _Bypass(block)
            without = [model.decode(latent) for latent in latents]
            stage.op_list[j] = block
            change = [
                lpips_metric(a, b).flatten() + (a - b).abs().mean(dim=(1, 2, 3))
                for a, b in zip(without, whole, strict=True)
            ]
            found.append(
                BlockInfluence(
                    stage=i,
                    block=j - first,
                    stream_change=sum(probe.changes) / len(probe.changes),
                    output_change=torch.cat(change).mean().item(),
                    psnr_loss_db=psnr - mean_psnr_db(without, batches),
                )
            )
    return found


class _Bypass(nn.Module):
    """Leaves a block out, but notes how far it would have moved its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.changes: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        change = (self.block(x) - x).norm(dim=1) / x.norm(dim=1).clamp(min=1e-12)
        self.changes.append(change.mean().item())
        return x
