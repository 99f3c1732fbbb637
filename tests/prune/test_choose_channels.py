"""Which channels are kept, by their place or their score."""

import torch

from dcde.prune.choose_channels import choose_channels, group_sizes
from dcde.prune.cut_channels import narrow
from dcde.prune.shape import narrower_config
from tests.helpers.tiny import model_of


def test_a_stream_is_chosen_by_what_feeds_it_too() -> None:
    full = model_of().config.decoder
    narrow = narrower_config(model_of().config, (16, 16, 32, 32), None).decoder
    scores = {group: torch.ones(size) for group, size in group_sizes(full).items()}
    scores["stage3"][40:] = 9.0  # two coarse channels feed each of the 32 fine ones
    kept = choose_channels(full, narrow, scores, linked=True)
    assert kept["stage1"].tolist() == [*range(4), *range(20, 32)]
    assert kept["stage2"].tolist() == kept["stage3"].tolist() == [*range(8), *range(40, 64)]
    kept = choose_channels(full, narrow, scores, linked=False)
    assert kept["stage1"].tolist() == [*range(16)]


def test_places_of_direct_and_gap() -> None:
    model = model_of()
    config = narrower_config(model.config, None, [1, 0.125, 1, 1])
    for choice, expected in (("direct", [0, 1, 2, 3]), ("gap", [0, 10, 20, 31])):
        student, _ = narrow(model, config, choice, [torch.rand(1, 32, 4, 4)], seed=0)  # type: ignore[arg-type]
        ours = student.decoder.stages[1].op_list[1].main.conv1.conv.weight
        theirs = model.decoder.stages[1].op_list[1].main.conv1.conv.weight
        assert torch.equal(ours, theirs[expected])
