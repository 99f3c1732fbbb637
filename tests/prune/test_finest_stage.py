"""A student without the teacher's stage at full resolution."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE, DCAEConfig, DecoderConfig, EncoderConfig
from dcde.model.checkpoint import save_model
from dcde.model.dcae import stage_taps
from dcde.params.pipeline import PruneParams
from dcde.prune.prune import prune
from tests.helpers.distill_run import run_distill
from tests.helpers.tiny import randomize

UPSAMPLINGS = ["ConvPixelShuffle", "InterpolateConv"]
DROPPED = (0, 1, 1, 1)


def teacher_of(upsample: Literal["ConvPixelShuffle", "InterpolateConv"]) -> DCAE:
    """Sana's kinds of blocks, with a stage at full resolution."""
    types, widths = ("R", "R", "S", "S"), (16, 32, 32, 32)
    model = DCAE(
        DCAEConfig(
            name="small",
            latent_channels=8,
            encoder=EncoderConfig(
                block_types=types, widths=widths, depths=(1,) * 4, downsample="Conv"
            ),
            decoder=DecoderConfig(
                block_types=types,
                widths=widths,
                depths=(2, 1, 1, 1),
                norms=("trms2d",) * 4,
                acts=("silu",) * 4,
                upsample=upsample,
            ),
        )
    )
    randomize(model)
    return model.eval()


def pruned(teacher: DCAE, pictures: Tensor, **changes: object) -> DCAE:
    settings = {"depth_list": DROPPED, "inner_ratio": None, "calibration_images": 16, **changes}
    return prune(
        teacher,
        PruneParams.model_validate(settings),
        images=lambda: pictures,
        lpips_metric=untrained_lpips,
        seed=0,
        device=torch.device("cpu"),
    ).student


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@torch.no_grad()
def test_coarser_stages_stay_and_repair_fits_the_output_layer(
    upsample: Literal["ConvPixelShuffle", "InterpolateConv"], pictures: Tensor
) -> None:
    teacher = teacher_of(upsample)
    cut = pruned(teacher, pictures, repair=False)
    assert cut.config.decoder.upsample == "ConvPixelShuffle" and cut.config.decoder.first_stage == 1
    latent = teacher.encode(pictures)
    expected, theirs = teacher.decode(latent, stage_taps(cut.config.decoder))
    gray, ours = cut.decode(latent, stage_taps(cut.config.decoder))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert gray.shape == expected.shape and not gray.any()
    for inner in (None, [1, 0.5, 0.5, 0.5]):
        repaired = pruned(teacher, pictures, inner_ratio=inner).decode(latent)
        left = (repaired - expected).square().mean() / expected.var()
        assert left < 0.5, inner  # random weights: much of stage 0 is noise


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@torch.no_grad()
def test_diffusers_class_decodes_the_same(
    upsample: Literal["ConvPixelShuffle", "InterpolateConv"], pictures: Tensor, tmp_path: Path
) -> None:
    diffusers = pytest.importorskip("diffusers")
    student = pruned(teacher_of(upsample), pictures)
    save_model(student, tmp_path / "out", "diffusers")
    latent = student.encode(pictures[:2])
    theirs = diffusers.AutoencoderDC.from_pretrained(tmp_path / "out").decode(latent).sample
    torch.testing.assert_close(student.decode(latent), theirs, atol=1e-5, rtol=1e-5)


def test_it_trains_with_its_new_output_layer(
    photo_list: tuple[Photo, ...], pictures: Tensor, tmp_path: Path
) -> None:
    teacher = teacher_of("InterpolateConv")
    student = pruned(teacher, pictures)
    before = student.decoder.project_out.op_list[2].conv.conv.weight.detach().clone()
    how = {"pair": (teacher, student), "epochs": 2, "samples_per_epoch": 8}
    with pytest.raises(UserError, match=r"freeze_project_out: found true, expected false where pr"):
        run_distill(photo_list, tmp_path, loss={"image": 1.0}, **how)
    how |= {"freeze_project_out": False}
    with pytest.raises(UserError, match=r"distill\.tap: found 'act', where the student is 32 chan"):
        run_distill(photo_list, tmp_path, loss={"image": 1.0, "feature": 1.0}, **how)
    run_distill(photo_list, tmp_path, loss={"image": 1.0, "stream": 1.0}, **how)
    assert not torch.equal(before, student.decoder.project_out.op_list[2].conv.conv.weight)
