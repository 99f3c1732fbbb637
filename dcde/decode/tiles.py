"""Decode large latents in tiles, to the same image without seams or blending.

Coarse maps (1/8 of the image's side and below) are kept whole and computed by operation, tile by
tile. Their attention is global but linear: its sums over all tiles are exact. The fine operations
have large maps, so they run together on one tile after the other, each with the margin that its
convolutions see. Memory holds the coarse maps, the image and one tile's maps, and the result
differs from an untiled decode by rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dcde.decode.fused import FusedAttention, FusedOp

COARSE = 8
"""Maps at 1/8 of the image's side and below are coarse: small beside their channels."""


@torch.no_grad()
def run_in_tiles(
    ops: Sequence[FusedOp], downsampling: int, latent: Tensor, tile_size: int
) -> Tensor:
    """Run a decoder's operations on a latent in bounded memory.

    Args:
        downsampling: image pixels for each latent position, along one side.
        latent: (B, latent_channels, h, w).
        tile_size: side of the image's tiles in pixels. Margins are computed twice: about 120 px
            around each tile for the published f32 decoder.
    """
    left = downsampling  # of the image's side, before each operation
    fine = 0
    for i, op in enumerate(ops):
        left //= op.scale
        if left >= COARSE or op.margin is None:
            fine = i + 1
    x, left = latent, downsampling
    for op in ops[:fine]:
        left //= op.scale
        side = max(1, tile_size // left)
        x = _attend(op, x, side) if isinstance(op, FusedAttention) else _run([op], x, side)
    return _run(ops[fine:], x, tile_size)


@dataclass(frozen=True)
class Box:
    """Rows and columns of a map, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, x: Tensor) -> Tensor:
        return x[:, :, self.top : self.bottom, self.left : self.right]

    def inside(self, outer: Box) -> Box:
        """Return the same positions in a map that was cut to `outer`."""
        top, left = outer.top, outer.left
        return Box(self.top - top, self.left - left, self.bottom - top, self.right - left)

    def grown(self, margin: int, height: int, width: int) -> Box:
        """Return the box with a margin, within a map of this size."""
        return Box(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(height, self.bottom + margin),
            min(width, self.right + margin),
        )

    def needs(self, op: FusedOp, height: int, width: int) -> Box:
        """Return the part of an operation's input, of this size, that these outputs depend on."""
        assert op.margin is not None
        s = op.scale
        inner = Box(self.top // s, self.left // s, -(-self.bottom // s), -(-self.right // s))
        return inner.grown(op.margin, height, width)

    def scaled(self, factor: int) -> Box:
        return Box(*(factor * edge for edge in (self.top, self.left, self.bottom, self.right)))


def _tiles(height: int, width: int, side: int) -> Iterator[Box]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(top + side, height), min(left + side, width))


def _run(ops: Sequence[FusedOp], x: Tensor, side: int) -> Tensor:
    """Run operations that have margins, together for each tile of their last output."""
    sizes = [(x.shape[2], x.shape[3])]  # of the map before each operation, and after the last
    for op in ops:
        sizes.append((sizes[-1][0] * op.scale, sizes[-1][1] * op.scale))
    out: Tensor | None = None
    for tile in _tiles(*sizes[-1], side):
        boxes = [tile]  # what each operation must give, from the last to the first
        for op, size in zip(reversed(ops), reversed(sizes[:-1]), strict=True):
            boxes.append(boxes[-1].needs(op, *size))
        boxes.reverse()
        y = boxes[0].of(x)
        for op, given, wanted in zip(ops, boxes, boxes[1:], strict=False):
            y = wanted.inside(given.scaled(op.scale)).of(op(y))
        if out is None:
            out = torch.empty(
                (*y.shape[:2], *sizes[-1]),
                dtype=y.dtype,
                device=y.device,
                memory_format=torch.channels_last,
            )
        tile.of(out).copy_(y)
    assert out is not None
    return out


def _attend(op: FusedAttention, x: Tensor, side: int) -> Tensor:
    """Attend over the whole map, and gather the sums tile by tile."""
    height, width = x.shape[2:]

    def heads(tile: Box) -> Tensor:
        outer = tile.grown(op.reach, height, width)
        box = tile.inside(outer)
        return op.heads(outer.of(x))[:, box.top : box.bottom, box.left : box.right]

    tiles = list(_tiles(height, width, side))
    sums = torch.stack([op.gather(heads(tile)) for tile in tiles])
    gathered = sums.sum(dim=0, dtype=torch.float32).to(sums.dtype)
    out = torch.empty_like(x)
    for tile in tiles:
        tile.of(out).copy_(op.read(tile.of(x), heads(tile), gathered))
    return out
