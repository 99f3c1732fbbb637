"""Counts against formulas by hand."""

import pytest
import torch
from torch import nn

from dcde.model import DecoderConfig, zoo_config
from dcde.model.costs import count_macs, static_costs


def test_macs_by_hand() -> None:
    conv = nn.Conv2d(8, 16, 3, padding=1)
    assert count_macs(conv, torch.zeros(1, 8, 10, 12)) == 10 * 12 * 8 * 16 * 9
    grouped = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    assert count_macs(grouped, torch.zeros(1, 8, 10, 12)) == 10 * 12 * 8 * 25


def decoder_macs_by_hand(config: DecoderConfig, latent_channels: int, side: int) -> int:
    """Multiply-accumulates of one image's decoding, from the architecture as the paper draws it.

    `side` is the latent's. A 3x3 convolution of C to K channels on H x W positions is 9 C K H W.
    """
    n = len(config.widths)
    total = 9 * latent_channels * config.widths[-1] * side**2
    for stage in reversed(range(config.first_stage, n)):
        width, depth = config.widths[stage], config.depths[stage]
        positions = (side * 2 ** (n - 1 - stage)) ** 2
        if stage < n - 1:  # to four times the channels, at the coarser map's positions
            total += 9 * config.widths[stage + 1] * 4 * width * positions // 4
        if config.block_types[stage] == "R":
            total += depth * 2 * 9 * width**2 * positions
            continue
        heads = width // 32
        queries_keys_values = 3 * width**2 * positions
        # (values, 1) times keys, summed over positions; then that times each query.
        attention = 2 * heads * 33 * 32 * positions
        projection = width**2 * positions
        expand, depthwise, project = 8 * width**2, 9 * 8 * width, 4 * width**2
        gated = (expand + depthwise + project) * positions
        total += depth * (queries_keys_values + attention + projection + gated)
    # To 3 channels at full resolution, or to 12 at half of it, which is the same.
    return total + 9 * config.widths[config.first_stage] * 3 * (side * 2 ** (n - 1)) ** 2


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("dc-ae-f32c32-in-1.0", (0, 5, 10, 2, 2, 2)),
        ("dc-ae-f32c32-in-1.0", (0, 1, 2, 1, 1, 2)),
        ("dc-ae-f16c16-photos", (0, 5, 10, 2, 2)),
    ],
)
def test_macs_of_a_decoder_by_hand(name: str, depths: tuple[int, ...]) -> None:
    config = zoo_config(name).with_decoder_depths(depths, "hand")
    expected = decoder_macs_by_hand(config.decoder, config.latent_channels, 16)
    assert static_costs(config, 16 * config.downsampling)["decoder_macs"] == expected
