"""Distillation on a small real model: what moves and what stays."""

from pathlib import Path

import pytest
import torch

from dcde.base.errors import UserError
from dcde.data.crops import load_crop, random_crop
from dcde.data.folder import Photo
from dcde.data.pixels import to_model_range
from dcde.distill.latents import LatentDataset, cache_latents
from dcde.distill.task import DistillTask
from dcde.model import DCAE
from dcde.model.shared_encoders import same_encoder
from dcde.params.training import CropParams
from dcde.train.losses import feature_l1
from tests.helpers.distill_run import curve, models, run_distill, same_weights

Photos = tuple[Photo, ...]


def test_only_the_decoder_before_project_out_is_trained(photo_list: Photos, tmp_path: Path) -> None:
    teacher_before, student_before = models()
    teacher, student = run_distill(photo_list, tmp_path)
    assert same_weights(teacher, teacher_before)
    before = student_before.state_dict()
    for name, tensor in student.named_parameters():
        frozen = name.startswith(("encoder.", "decoder.project_out."))
        assert torch.equal(tensor, before[name]) == frozen, name


def test_encoder_is_trained_when_it_is_not_frozen(
    photo_list: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = models()[1]
    shown: list[DCAE] = []
    teacher, student = run_distill(
        photo_list,
        tmp_path,
        freeze_encoder=False,
        on_epoch=lambda epoch, model: shown.append(model),
    )
    assert "warning: distill.freeze_encoder is false" in capsys.readouterr().out
    assert not same_encoder(student, before) and same_encoder(teacher, before)
    assert not same_weights(student.decoder, before.decoder)
    assert same_weights(shown[-1], student)
    feature = curve(tmp_path, "loss/feature")
    assert feature[0] > 0 and all(p.grad is None for p in teacher.parameters())


def test_the_teacher_decodes_its_own_latents_where_the_encoder_trains() -> None:
    teacher, student = models()
    image, latent = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randn(2, 4, 4, 4)
    task = DistillTask(student, teacher.decoder, "act")
    prediction = task.predict(task.module, {"latent": latent, "image": image})
    assert torch.equal(prediction.image, student(image))
    assert torch.equal(prediction.teacher_feature, teacher.decode(latent, ("act",))[1]["act"])  # type: ignore[arg-type]
    assert torch.equal(prediction.teacher_image, teacher.decode(latent))  # type: ignore[arg-type]
    feature_l1(prediction).backward()
    assert all(p.grad is not None for p in student.encoder.parameters())


def test_distillation_brings_the_student_to_the_teacher(photo_list: Photos, tmp_path: Path) -> None:
    settings = {"epochs": 4, "samples_per_epoch": 80, "dynamic_loss": False, "ema": 0}
    run_distill(photo_list, tmp_path, loss={"feature": 1.0}, **settings)
    losses = list(curve(tmp_path, "loss/feature").values())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


@pytest.mark.parametrize("keep_pixels", [True, False])
def test_cached_latents_are_the_encoders(
    keep_pixels: bool, tiny_model: DCAE, photo_list: Photos, tmp_path: Path
) -> None:
    params = CropParams(image_size=32, short_side=(32, 64), flip=True)
    crops = [random_crop(photo_list[i % 5], params, (0, i)) for i in range(7)]
    folder = tmp_path / "cache"
    cache_latents(tiny_model, crops, folder, keep_pixels=keep_pixels, batch_size=3, workers=0)
    cached = LatentDataset(folder, [6, 0], [crops[6], crops[0]])
    pixels = torch.stack([load_crop(crops[6]), load_crop(crops[0])])
    with torch.no_grad():
        latent = tiny_model.encode(to_model_range(pixels))
    for i in range(2):
        assert torch.equal(cached[i]["pixels"], pixels[i])
        torch.testing.assert_close(cached[i]["latent"], latent[i])


def test_latents_are_not_computed_twice(photo_list: Photos, tmp_path: Path) -> None:
    cache = tmp_path / "latents"
    run_distill(photo_list, tmp_path / "a", cache_dir=cache)
    times = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    run_distill(photo_list, tmp_path / "b", cache_dir=cache, loss={"image": 1.0})
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")} == times
    assert len(times) == 2


def test_bad_input_is_named_before_work_starts(photo_list: Photos, tmp_path: Path) -> None:
    """`dcde check` finds more of it."""
    with pytest.raises(UserError, match=r"found 6, expected at most the 5 samples of an epoch"):
        run_distill(photo_list, tmp_path, samples_per_epoch=None, batch_size=6)
    assert not list(tmp_path.iterdir())
