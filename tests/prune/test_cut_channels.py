"""Cutting channels: which are kept, and that the student computes what they did in the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.model import DCAE
from dcde.model.blocks import RMSNorm2d
from dcde.model.checkpoint import read_model, save_model
from dcde.prune.calibrate import input_energy
from dcde.prune.choose_channels import axes, choose_channels, group_sizes, places
from dcde.prune.cut_channels import Choice, cut_channels, narrow
from dcde.prune.shape import narrower_config
from tests.helpers.cuts import at_random, kill, without
from tests.helpers.distill_run import run_distill
from tests.helpers.tiny import model_of

CHOICES: tuple[Choice, ...] = get_args(Choice)
KINDS = [("R", "bn2d"), ("R", "trms2d"), ("E", "trms2d"), ("S", "trms2d")]
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
    sizes = group_sizes(model.config.decoder)
    half = {g: n // 2 if g.endswith("inner") else n for g, n in sizes.items()}
    kill(model, without(sizes, at_random(sizes, half)))
    config = narrower_config(model.config, None, [1, 0.5, 0.5, 0.5])
    student, _ = narrow(model, config, "rebuild", pictures, seed=0)
    assert student.config.decoder.widths == model.config.decoder.widths
    assert group_sizes(student.config.decoder) == half
    assert_same(student, model, latent)


@pytest.mark.parametrize("widths", NARROWER, ids=str)
@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_dead_channels_of_the_stream_are_removed_with_no_change(
    kind: str, norm: str, widths: tuple[int, ...], pictures: Tensor, latent: Tensor
) -> None:
    """Any channels and heads of any stage: the student's shortcuts carry what the teacher's did."""
    model = model_of("R" + 2 * kind, norm)
    config = narrower_config(model.config, widths, None)
    sizes = group_sizes(model.config.decoder)
    kept = at_random(sizes, group_sizes(config.decoder))
    kill(model, without(sizes, kept))
    energy = input_energy(model, pictures, batch_size=2)
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
    student, _ = narrow(model, config, "rebuild", pictures, seed=0)
    assert_same(student, model, latent)


def test_shortcut_beside_one_kernel_for_all_pixels(pictures: Tensor, latent: Tensor) -> None:
    """With `InterpolateConv`, where each coarse channel feeds whole fine ones."""
    model = model_of("RES", "trms2d", "InterpolateConv")
    config = narrower_config(model.config, (16, 32, 64, 32), None)
    sizes = group_sizes(model.config.decoder)
    kept = at_random(sizes, group_sizes(config.decoder))
    kill(model, without(sizes, kept))
    energy = input_energy(model, pictures, batch_size=2)
    assert_same(cut_channels(model, config, kept, energy), model, latent)


def test_activation_finds_channels_that_never_fire(pictures: Tensor) -> None:
    model = model_of()
    silent = at_random({"inner": 32}, {"inner": 16})["inner"]
    for block in model.decoder.stages[1].op_list[1:]:
        with torch.no_grad():
            block.main.conv1.conv.bias[silent] = -1e3
    config = narrower_config(model.config, None, [1, 0.5, 1, 1])

    def student(choice: Choice) -> DCAE:
        return narrow(model, config, choice, pictures, seed=0)[0]

    with torch.no_grad():
        expected = model(pictures)
        torch.testing.assert_close(student("rebuild")(pictures), expected, atol=5e-6, rtol=1e-5)
        assert (student("direct")(pictures) - expected).abs().max() > 0.01


@pytest.mark.parametrize("choice", CHOICES)
def test_stages_that_shrink_alike_keep_their_shortcuts(choice: Choice, pictures: Tensor) -> None:
    """Whatever is chosen, no upsampling convolution has to make up for a shortcut."""
    model = model_of()
    config = narrower_config(model.config, (16, 16, 32, 32), None)
    student, _ = narrow(model, config, choice, pictures, seed=0)
    for i in (1, 2):
        theirs = model.decoder.stages[i].op_list[0].main.conv.conv.weight.flatten().tolist()
        ours = student.decoder.stages[i].op_list[0].main.conv.conv.weight.flatten().tolist()
        assert set(ours) <= set(theirs)


def test_cutting_nothing_is_the_identity(pictures: Tensor) -> None:
    model = model_of()
    for widths, inner in ((model.config.decoder.widths, None), (None, [1.0] * 4)):
        config = narrower_config(model.config, widths, inner)
        assert config.decoder == model.config.decoder
        student, _ = narrow(model, config, "rebuild", pictures, seed=0)
        theirs = model.state_dict()
        assert all(
            torch.equal(tensor, theirs[name]) for name, tensor in student.state_dict().items()
        )
        owned = {tensor.data_ptr() for tensor in theirs.values()}
        assert not owned & {tensor.data_ptr() for tensor in student.state_dict().values()}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("stage", "widths"), ONE_STAGE)
@pytest.mark.parametrize("inside", [True, False], ids=["inner", "stream"])
def test_every_student_runs_saves_loads_and_trains_a_step(
    choice: Choice,
    stage: int,
    widths: tuple[int, ...],
    inside: bool,
    pictures: Tensor,
    latent: Tensor,
    tmp_path: Path,
) -> None:
    model = model_of("RES")
    ratio = [0.5 if i == stage else 1.0 for i in range(4)]
    config = narrower_config(model.config, None if inside else widths, ratio if inside else None)
    student, _ = narrow(model, config, choice, pictures, seed=0)
    ours, theirs = group_sizes(student.config.decoder), group_sizes(model.config.decoder)
    changed = {group for group, size in ours.items() if size != theirs[group]}
    assert changed and all(group.startswith(f"stage{stage}") for group in changed)
    assert (f"stage{stage}" in changed) != inside
    encoder = model.encoder.state_dict()
    assert all(torch.equal(v, encoder[k]) for k, v in student.encoder.state_dict().items())

    save_model(student, tmp_path / "student")
    loaded = read_model(tmp_path / "student")
    assert loaded.config == student.config
    with torch.no_grad():
        image = student.decode(latent)
        assert image.isfinite().all() and torch.equal(loaded.decode(latent), image)

    before = {name: p.clone() for name, p in loaded.decoder.named_parameters()}
    optimizer = torch.optim.AdamW(loaded.decoder.parameters(), lr=1e-3)
    (loaded.train().decode(latent) - 0.5).abs().mean().backward()
    optimizer.step()
    for name, p in loaded.decoder.named_parameters():
        assert p.isfinite().all() and not torch.equal(p, before[name]), name


def test_norms_make_up_for_the_energy_of_cut_channels(pictures: Tensor) -> None:
    """Where the channels cut are as strong as the others on the mean, weights stay as they are."""
    model = model_of("RRR", "trms2d")
    full = model.config.decoder
    config = narrower_config(model.config, (16, 16, 32, 32), None)
    sizes = group_sizes(full)
    kept = at_random(sizes, group_sizes(config.decoder))
    names = [name for name, m in model.decoder.named_modules() if isinstance(m, RMSNorm2d)]
    even = {name: torch.ones(model.decoder.get_submodule(name).weight.shape) for name in names}
    student = cut_channels(model, config, kept, even)
    for name in names:
        axis = axes(full, f"{name}.weight")[0]
        assert axis is not None
        theirs = model.decoder.get_parameter(f"{name}.weight")[axis.positions(kept)]
        assert torch.equal(student.decoder.get_parameter(f"{name}.weight"), theirs)


@pytest.mark.parametrize("tap", ["stream", "norm", "act"])
def test_features_of_another_width_are_refused_before_training(
    tap: str, photo_list: tuple[Photo, ...], tmp_path: Path, pictures: Tensor
) -> None:
    def run(tap: str, loss: dict[str, float]) -> None:
        teacher = model_of()
        config = narrower_config(teacher.config, (16, 16, 32, 32), None)
        student, _ = narrow(teacher, config, "gap", pictures, seed=0)
        run_distill(photo_list, tmp_path / "run", pair=(teacher, student), tap=tap, loss=loss)

    with pytest.raises(UserError, match=rf"distill\.tap: found '{tap}', .* 16 channels .* 32"):
        run(tap, {"feature": 1.0})
    assert not (tmp_path / "run").exists()
    run(tap, {"image": 1.0})
    run("image", {"feature": 1.0})
