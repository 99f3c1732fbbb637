"""Repair in closed form: exact where it can be, better where it can't, and nothing else touched."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.model import DCAE, zoo_config
from dcde.model.spec import DCAEConfig
from dcde.prune.choose_channels import Channels
from dcde.prune.cut_blocks import Kept, cut_blocks
from dcde.prune.cut_channels import Choice, narrow
from dcde.prune.repair import check_positions, repair
from dcde.prune.shape import narrower_config
from tests.helpers.cuts import KINDS
from tests.helpers.tiny import model_of

UPSAMPLINGS = ["ConvPixelShuffle", "InterpolateConv"]
WHOLE: Kept = ((), (0, 1), (0,), (0,))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def narrowed(
    model: DCAE,
    pictures: Tensor,
    widths: Sequence[int] | None,
    inner: Sequence[float] | None,
    choice: Choice = "rebuild",
) -> tuple[DCAE, Channels]:
    config = narrower_config(model.config, widths, inner)
    return narrow(model, config, choice, [model.encode(pictures)], seed=0)


@torch.no_grad()
def repair_on(
    student: DCAE, teacher: DCAE, kept: Kept, channels: Channels, pictures: Tensor, *, seed: int
) -> None:
    latents = [teacher.encode(batch) for batch in pictures.split(4)]
    repair(student, teacher, kept, channels, latents, seed=seed)


@torch.no_grad()
def error(student: DCAE, teacher: DCAE, pictures: Tensor) -> float:
    return (student(pictures) - teacher(pictures)).square().mean().item()


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_a_student_that_lost_nothing_stays_as_it_is(
    kind: str, norm: str, upsample: str, pictures: Tensor
) -> None:
    teacher = model_of("R" + 2 * kind, norm, upsample)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = cut_blocks(teacher, WHOLE)
    repair_on(student, teacher, WHOLE, {}, pictures, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(student(pictures), teacher(pictures), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not any(m._forward_pre_hooks for m in (*student.modules(), *teacher.modules()))


@torch.no_grad()
def test_blocks_that_do_nothing_are_dropped_with_no_change(pictures: Tensor) -> None:
    teacher = model_of()
    idle = teacher.decoder.stages[1].op_list[2].main.conv2.norm
    idle.weight.zero_()
    idle.bias.zero_()
    kept: Kept = ((), (0,), (0,), (0,))
    student = cut_blocks(teacher, kept)
    repair_on(student, teacher, kept, {}, pictures, seed=0)
    torch.testing.assert_close(student(pictures), teacher(pictures), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_repair_is_exact_where_what_was_cut_is_a_linear_function_of_what_stays(
    pictures: Tensor,
) -> None:
    """Half of the inner channels are multiples of the others, whose weights can take it over."""
    teacher = model_of("RRR", "bn2d")
    for i in (1, 2, 3):
        stage = teacher.decoder.stages[i]
        for block in stage.op_list[teacher.config.decoder.first_block(i) :]:
            conv = block.main.conv1.conv
            half = len(conv.weight) // 2
            conv.weight[half:], conv.bias[half:] = 2 * conv.weight[:half], 2 * conv.bias[:half]
    # silu is not linear: a multiple before it is none behind it
    config = teacher.config.with_decoder("relu", acts=("relu",) * 4)  # type: ignore[arg-type]
    relu = DCAE(config).eval()
    relu.load_state_dict(teacher.state_dict())
    student, channels = narrowed(relu, pictures, None, [1, 0.5, 0.5, 0.5], "direct")
    cut = error(student, relu, pictures)
    repair_on(student, relu, WHOLE, channels, pictures, seed=0)
    assert cut > 1e-3 and error(student, relu, pictures) < 1e-4 * cut


WAYS: dict[str, tuple[Kept, Sequence[int] | None, Sequence[float] | None]] = {
    "depth": (((), (1,), (0,), (0,)), None, None),
    "inside": (WHOLE, None, [1, 0.25, 0.25, 0.25]),
    "stream": (WHOLE, (16, 32, 32, 32), None),
    "all": (((), (1,), (0,), (0,)), (16, 32, 32, 32), [1, 0.25, 0.25, 0.25]),
}


@pytest.mark.parametrize(
    ("kinds", "norm", "way", "upsample"),
    [
        *(("R" + 2 * kind, norm, "all", up) for kind, norm in KINDS for up in UPSAMPLINGS),
        *(("RES", "trms2d", way, "ConvPixelShuffle") for way in ("depth", "inside", "stream")),
    ],
)
def test_every_kind_of_student_comes_nearer_to_its_teacher(
    kinds: str, norm: str, way: str, upsample: str, pictures: Tensor
) -> None:
    """Also on pictures that it was not fitted on, and in training mode."""
    kept, widths, inner = WAYS[way]
    teacher = model_of(kinds, norm, upsample)
    student, channels = cut_blocks(teacher, kept), {}
    if widths or inner:
        student, channels = narrowed(student, pictures, widths, inner)
    others = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    cut = error(student, teacher, pictures), error(student, teacher, others)
    repair_on(student, teacher, kept, channels, pictures, seed=0)
    assert error(student, teacher, pictures) < 0.9 * cut[0]
    assert error(student, teacher, others) < cut[1]
    with torch.no_grad():
        expected = student(pictures)
        torch.testing.assert_close(student.train()(pictures), expected, atol=1e-4, rtol=1e-4)


def test_the_seed_decides_every_bit(pictures: Tensor) -> None:
    teacher = model_of()
    kept, _, _ = WAYS["depth"]

    def state(seed: int) -> dict[str, Tensor]:
        student = cut_blocks(teacher, kept)
        repair_on(student, teacher, kept, {}, pictures, seed=seed)
        return student.state_dict()

    first, again, other = state(0), state(0), state(1)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_fewer_positions_than_unknowns(pictures: Tensor) -> None:
    """A 32 px picture is 16 positions in the coarsest stage, which has 64 * 9 weights an output."""
    teacher, (kept, _, _) = model_of("RRR"), WAYS["depth"]
    student = cut_blocks(teacher, kept)
    one = pictures[:1, :, :32, :32]
    cut = error(student, teacher, one)
    repair_on(student, teacher, kept, {}, one, seed=0)
    assert error(student, teacher, one) < cut
    assert all(tensor.isfinite().all() for tensor in student.state_dict().values())


@pytest.mark.parametrize(
    ("config", "size", "least"),
    [
        (zoo_config("dc-ae-f32c32-in-1.0"), 512, 4),  # 9216 / (16 * 16) / 10
        (zoo_config("dc-ae-f32c32-sana-1.0"), 512, 2),  # twice the resolution: 9216 / (32 * 32)...
        (zoo_config("dc-ae-f16c16-photos"), 256, 1),
    ],
)
def test_far_too_few_photos_are_refused(config: DCAEConfig, size: int, least: int) -> None:
    photos = torch.empty(least, 3, size, size, device="meta")
    check_positions(config, least, len(photos), photos.shape[-1])
    name = r"prune\.calibration_images"
    with pytest.raises(UserError, match=rf"{name}: found {least - 1} of .* least {least}"):
        check_positions(config, least - 1, len(photos) - 1, photos.shape[-1])
    with pytest.raises(UserError, match=rf"{name}: found 32 \(there are only {least - 1}\) of"):
        check_positions(config, 32, len(photos) - 1, photos.shape[-1])
