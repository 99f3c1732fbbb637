"""Channels chosen by how much of the outputs they rebuild."""

import pytest
import torch
from torch import Tensor

from dcde.model.blocks import ConvLayer
from dcde.prune.choose_blocks import Kept
from dcde.prune.choose_channels import group_sizes
from dcde.prune.cut_blocks import cut_blocks
from dcde.prune.cut_channels import narrow
from dcde.prune.refit import samples, with_norm
from dcde.prune.repair import repair
from dcde.prune.shape import narrower_config
from dcde.prune.subset import POSITIONS, RIDGE, best_channels, covariances, rebuilding_channels
from tests.helpers.tiny import model_of, randomize


def correlated(channels: int) -> list[Tensor]:
    """Two batches of maps whose channels are mixtures of fewer."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(channels, channels // 2, generator=generator)
    maps = torch.randn(4, channels // 2, 12, 12, generator=generator)
    x = torch.einsum("cm,bmhw->bchw", mix, maps)
    return list((x + 0.1 * torch.randn(x.shape, generator=generator)).split(2))


@pytest.mark.parametrize(("kernel", "norm"), [(1, "trms2d"), (3, "bn2d"), (3, None)])
@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_each_choice_leaves_the_least_of_the_outputs_unexplained(
    kernel: int, norm: str | None, heads: int
) -> None:
    """Compared with ridge regressions of the outputs on all choices that add a channel."""
    layer = ConvLayer(12, 5, kernel, bias=norm is None, norm=norm)  # type: ignore[arg-type]
    randomize(layer)
    layer.eval()
    inputs = correlated(12)
    channel = torch.arange(12) % (12 // heads)
    x = torch.cat([x for x, _ in samples(layer.conv, inputs, inputs, 3, POSITIONS)]).double()
    x = (x - x.mean(dim=0)).unflatten(1, (12, -1))
    weight = (
        layer.conv.weight.flatten(1) * layer.norm.weight[:, None]
        if norm == "trms2d"
        else (with_norm(layer)[0])
    )
    outputs = x.flatten(1) @ weight.double().T
    ridge = RIDGE * x.square().mean() * len(x)

    def explained(chosen: list[int]) -> float:
        kept = x[:, torch.isin(channel, torch.tensor(chosen))].flatten(1)
        squares = kept.T @ kept + ridge * torch.eye(kept.shape[1])
        products = kept.T @ outputs
        return (products * torch.linalg.solve(squares, products)).sum().item()

    expected: list[int] = []
    for _ in range(4):
        left = [c for c in range(12 // heads) if c not in expected]
        expected.append(max(left, key=lambda c: explained([*expected, c])))
    found = best_channels(*covariances(layer, inputs, channel, 3), 4)
    assert found.tolist() == sorted(expected)


@torch.no_grad()
def test_channels_that_others_rebuild_are_cut_with_no_change() -> None:
    """Most of the inner channels are loud copies of a few."""
    teacher = model_of("RRR", "bn2d")
    for i in (1, 2, 3):
        stage = teacher.decoder.stages[i]
        for block in stage.op_list[teacher.config.decoder.first_block(i) :]:
            conv = block.main.conv1.conv
            eighth = len(conv.weight) // 8
            for tensor in (conv.weight, conv.bias):
                for copy in range(2, 8):
                    tensor[copy * eighth : (copy + 1) * eighth] = copy * tensor[:eighth]
    whole: Kept = ((), (0, 1), (0,), (0,))
    config = narrower_config(teacher.config, None, [1, 0.25, 0.25, 0.25])
    pictures = torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = [teacher.encode(batch) for batch in pictures.split(4)]
    error = {}
    for rebuild in (True, False):
        inside = rebuilding_channels(teacher, config.decoder, whole, latents, seed=0)
        student, channels = narrow(
            cut_blocks(teacher, whole),
            config,
            "rebuild",
            latents,
            seed=0,
            inside=inside if rebuild else None,
        )
        repair(student, teacher, whole, channels, latents, seed=0)
        error[rebuild] = (student(pictures) - teacher(pictures)).abs().max().item()
    assert 10 * error[True] < error[False], error


@torch.no_grad()
def test_only_blocks_that_the_student_keeps_are_chosen_by_their_place_in_it() -> None:
    teacher = model_of("RRE", "trms2d")
    kept: Kept = ((), (1,), (0,), (0,))
    blocks = teacher.decoder.stages[1].op_list
    silent = torch.arange(0, 32, 2)
    for block, dead in ((blocks[1], silent), (blocks[2], silent + 1)):
        block.main.conv1.conv.weight[dead] = block.main.conv1.conv.bias[dead] = 0
    config = narrower_config(cut_blocks(teacher, kept).config, (16, 16, 32, 32), None)
    latents = [torch.randn(4, teacher.config.latent_channels, 4, 4)]
    found = rebuilding_channels(teacher, config.decoder, kept, latents, seed=0)
    assert found["stage1.op1.inner"].tolist() == silent.tolist()
    counts = group_sizes(config.decoder)
    cut = [
        g for g, n in group_sizes(cut_blocks(teacher, kept).config.decoder).items() if n > counts[g]
    ]
    assert sorted(found) == sorted(g for g in cut if "." in g)
    assert all(len(found[g]) == counts[g] for g in found)
