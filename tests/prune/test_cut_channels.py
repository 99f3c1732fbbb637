"""Cutting channels: which are kept, and that the student computes what they did in the teacher."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.model import DCAE
from dcde.model.blocks import RMSNorm2d
from dcde.prune.calibrate import input_energy
from dcde.prune.choose_channels import choose_channels, group_sizes, places
from dcde.prune.cut_channels import Choice, cut_channels, narrow
from dcde.prune.shape import narrower_config
from tests.helpers.cuts import KINDS, at_random, kill, kill_half_inside, without
from tests.helpers.distill_run import run_distill, same_weights
from tests.helpers.tiny import model_of

CHOICES: tuple[Choice, ...] = get_args(Choice)
# By half, by stages in other proportions, and at one stage alone.
NARROWER = [(16, 16, 32, 32), (16, 16, 32, 64), (16, 32, 32, 32), (16, 16, 64, 64)]
ONE_STAGE = [(1, (16, 16, 64, 64)), (2, (16, 32, 32, 64)), (3, (16, 32, 64, 32))]


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def latent() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def assert_same(student: DCAE, model: DCAE, latent: Tensor) -> None:
    """Equal images but for rounding, and for the eps that keeps RMS norms from dividing by 0."""
    norms = [m for m in (*student.modules(), *model.modules()) if isinstance(m, RMSNorm2d)]
    torch.testing.assert_close(student.decode(latent), model.decode(latent), atol=1e-3, rtol=0)
    for norm in norms:
        norm.eps = 0.0
    expected = model.decode(latent)
    assert expected.std() > 0.1
    torch.testing.assert_close(student.decode(latent), expected, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_dead_inner_channels_are_found_and_removed_with_no_change(
    kind: str, norm: str, pictures: Tensor, latent: Tensor
) -> None:
    model = model_of("R" + 2 * kind, norm)
    half = kill_half_inside(model)
    config = narrower_config(model.config, None, [1, 0.5, 0.5, 0.5])
    student, _ = narrow(model, config, "rebuild", [model.encode(pictures)], seed=0)
    assert student.config.decoder.widths == model.config.decoder.widths
    assert group_sizes(student.config.decoder) == half
    assert_same(student, model, latent)


@pytest.mark.parametrize(
    ("kinds", "norm", "upsample", "widths"),
    [
        *(("R" + 2 * k, norm, "ConvPixelShuffle", w) for k, norm in KINDS for w in NARROWER),
        ("RES", "trms2d", "InterpolateConv", (16, 32, 64, 32)),  # coarse channels feed whole ones
    ],
)
def test_dead_channels_of_the_stream_are_removed_with_no_change(
    kinds: str, norm: str, upsample: str, widths: tuple[int, ...], pictures: Tensor, latent: Tensor
) -> None:
    """Any channels and heads of any stage: the student's shortcuts carry what the teacher's did."""
    model = model_of(kinds, norm, upsample)
    config = narrower_config(model.config, widths, None)
    sizes = group_sizes(model.config.decoder)
    kept = at_random(sizes, group_sizes(config.decoder))
    kill(model, without(sizes, kept))
    energy = input_energy(model, model.encode(pictures).split(2))
    assert_same(cut_channels(model, config, kept, energy), model, latent)


@pytest.mark.parametrize("upsample", ["ConvPixelShuffle", "InterpolateConv"])
def test_dead_channels_of_the_stream_are_found(
    upsample: str, pictures: Tensor, latent: Tensor
) -> None:
    """Channels that feed each other through the shortcuts die and go together."""
    model = model_of("RES", "trms2d", upsample)
    full = model.config.decoder
    config = narrower_config(model.config, (16, 16, 32, 32), None)
    generator = torch.Generator().manual_seed(3)
    scores = places(full, config.decoder, "random", generator)
    kept = choose_channels(full, config.decoder, scores, linked=False)
    kill(model, without(group_sizes(full), kept))
    student, _ = narrow(model, config, "rebuild", [model.encode(pictures)], seed=0)
    assert_same(student, model, latent)


@pytest.mark.parametrize("choice", CHOICES)
def test_stages_that_shrink_alike_keep_their_shortcuts(choice: Choice, pictures: Tensor) -> None:
    """Whatever is chosen, no upsampling convolution has to make up for a shortcut."""
    model = model_of()
    config = narrower_config(model.config, (16, 16, 32, 32), None)
    student, _ = narrow(model, config, choice, [model.encode(pictures)], seed=0)
    for i in (1, 2):
        theirs = model.decoder.stages[i].op_list[0].main.conv.conv.weight.flatten().tolist()
        ours = student.decoder.stages[i].op_list[0].main.conv.conv.weight.flatten().tolist()
        assert set(ours) <= set(theirs)


def test_cutting_nothing_is_the_identity(pictures: Tensor) -> None:
    model = model_of()
    for widths, inner in ((model.config.decoder.widths, None), (None, [1.0] * 4)):
        config = narrower_config(model.config, widths, inner)
        assert config.decoder == model.config.decoder
        student, _ = narrow(model, config, "rebuild", [model.encode(pictures)], seed=0)
        assert same_weights(student, model)
        owned = {tensor.data_ptr() for tensor in model.state_dict().values()}
        assert not owned & {tensor.data_ptr() for tensor in student.state_dict().values()}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("stage", "widths"), ONE_STAGE)
@pytest.mark.parametrize("inside", [True, False], ids=["inner", "stream"])
def test_every_student_is_narrow_where_it_was_asked_for(
    choice: Choice, stage: int, widths: tuple[int, ...], inside: bool, pictures: Tensor
) -> None:
    model = model_of("RES")
    ratio = [0.5 if i == stage else 1.0 for i in range(4)]
    config = narrower_config(model.config, None if inside else widths, ratio if inside else None)
    student, _ = narrow(model, config, choice, [model.encode(pictures)], seed=0)
    ours, theirs = group_sizes(student.config.decoder), group_sizes(model.config.decoder)
    changed = {group for group, size in ours.items() if size != theirs[group]}
    assert changed and all(group.startswith(f"stage{stage}") for group in changed)
    assert (f"stage{stage}" in changed) != inside
    assert same_weights(student.encoder, model.encoder)
    image = student.decode(torch.randn(1, 4, 8, 8))
    (image - 0.5).abs().mean().backward()
    assert image.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.decoder.parameters())


def test_features_of_another_width_are_refused_before_training(
    photo_list: tuple[Photo, ...], tmp_path: Path, pictures: Tensor
) -> None:
    teacher = model_of()
    config = narrower_config(teacher.config, (16, 16, 32, 32), None)
    student, _ = narrow(teacher, config, "gap", [teacher.encode(pictures)], seed=0)
    for tap in ("stream", "norm", "act"):
        with pytest.raises(UserError, match=rf"distill\.tap: found '{tap}', .* 16 channels .* 32"):
            run_distill(
                photo_list, tmp_path, pair=(teacher, student), tap=tap, loss={"feature": 1.0}
            )
    assert not list(tmp_path.iterdir())
