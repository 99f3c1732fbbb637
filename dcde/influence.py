"""What each block of a decoder does: how far it moves the stream, what dropping it costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcde.model import DCAE
from dcde.model.blocks import OpSequential


@dataclass(frozen=True)
class BlockInfluence:
    """One block of the decoder, by stage and its place among the stage's blocks."""

    stage: int
    block: int
    stream_change: float
    """Mean over positions of |block(x) - x| / |x|, norms over channels."""
    psnr_loss_db: float
    """How much PSNR falls when the block alone is dropped."""


@torch.inference_mode()
def block_influence(model: DCAE, images: Tensor, *, batch_size: int) -> list[BlockInfluence]:
    """Measure every block of the decoder on (B, 3, H, W) images in [-1, 1], in decoding order."""
    batches = [(model.encode(batch), batch) for batch in images.split(batch_size)]
    whole = _psnr_db(model, batches)
    found = []
    for i in reversed(range(len(model.decoder.stages))):
        stage = model.decoder.stages[i]
        assert isinstance(stage, OpSequential)
        first = model.config.decoder.first_block(i)
        for j in range(first, len(stage.op_list)):
            block = stage.op_list[j]
            probe = _Probe(block)
            stage.op_list[j] = probe
            _psnr_db(model, batches)
            stage.op_list[j] = nn.Identity()
            without = _psnr_db(model, batches)
            stage.op_list[j] = block
            found.append(BlockInfluence(i, j - first, probe.mean(), whole - without))
    return found


class _Probe(nn.Module):
    """Runs a block and gathers how far it moves its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.changes: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        change = (y - x).norm(dim=1) / x.norm(dim=1).clamp(min=1e-12)
        self.changes.append(change.mean().item())
        return y

    def mean(self) -> float:
        return sum(self.changes) / len(self.changes)


def _psnr_db(model: DCAE, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Mean PSNR in dB of decoded latents against their images, clamped but not rounded."""
    values: list[Tensor] = []
    for latent, image in batches:
        error = (model.decode(latent).clamp(-1, 1) - image).square().mean(dim=(1, 2, 3))
        values.append(10 * torch.log10(4 / error))
    return torch.cat(values).mean().item()
