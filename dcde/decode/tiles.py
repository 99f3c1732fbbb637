"""Decoding of latents too large to decode at once: in tiles, to the same image.

No blending of overlaps. The coarse maps (1/8 of the image's side and below), where attention is
global, are kept whole and computed one operation after the other, tile by tile: attention by
gathering its sums over all tiles first, which is exact as it is linear. The fine operations, whose
maps are large, run together on one tile after the other, each with the margin of neighbours that
its convolutions see. So what is held is the coarse maps, the image, and a tile's maps, and there
are no seams: results differ from an untiled decode by rounding alone.
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
    """A decoder's operations on a latent, as one after the other would, in bounded memory.

    Args:
        downsampling: image pixels for each latent position, along one side.
        latent: (B, latent_channels, h, w).
        tile_size: side of the image's tiles in pixels. Margins are computed twice: for the
            published f32 decoder about 120 px around each tile.
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
        """The same positions, counted from the corner of a map that is cut to `outer`."""
        top, left = outer.top, outer.left
        return Box(self.top - top, self.left - left, self.bottom - top, self.right - left)

    def needs(self, op: FusedOp, height: int, width: int) -> Box:
        """What of an input map of that size these outputs of an operation depend on."""
        assert op.margin is not None
        return Box(
            max(0, self.top // op.scale - op.margin),
            max(0, self.left // op.scale - op.margin),
            min(height, -(-self.bottom // op.scale) + op.margin),
            min(width, -(-self.right // op.scale) + op.margin),
        )

    def scaled(self, factor: int) -> Box:
        return Box(*(factor * edge for edge in (self.top, self.left, self.bottom, self.right)))


def _tiles(height: int, width: int, side: int) -> Iterator[Box]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(top + side, height), min(left + side, width))


def _run(ops: Sequence[FusedOp], x: Tensor, side: int) -> Tensor:
    """Operations with margins, one after the other, for each tile of their last output."""
    sizes = [(x.shape[2], x.shape[3])]  # of the map before each operation, and after the last
    for op in ops:
        sizes.append((sizes[-1][0] * op.scale, sizes[-1][1] * op.scale))
    out: Tensor | None = None
    for tile in _tiles(*sizes[-1], side):
        boxes = [tile]  # the same, from the last to the first
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
    """Attention over the whole map, whose sums are gathered tile by tile."""
    height, width = x.shape[2:]

    def heads(tile: Box) -> Tensor:
        outer = Box(
            max(0, tile.top - op.reach),
            max(0, tile.left - op.reach),
            min(height, tile.bottom + op.reach),
            min(width, tile.right + op.reach),
        )
        box = tile.inside(outer)
        return op.heads(outer.of(x))[:, box.top : box.bottom, box.left : box.right]

    tiles = list(_tiles(height, width, side))
    gathered = torch.stack([op.gather(heads(tile)).float() for tile in tiles]).sum(dim=0)
    out = torch.empty_like(x)
    for tile in tiles:
        tile.of(out).copy_(op.read(tile.of(x), heads(tile), gathered.to(x.dtype)))
    return out
