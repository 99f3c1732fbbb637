"""Training a whole autoencoder: what is trained in a phase, and what must stay as it is."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml

from dcde.autoencode.phase import check_phases, train_phase
from dcde.autoencode.start import BRANCH_SCALE, quiet_branches, start_model
from dcde.autoencode.task import AutoencodeTask
from dcde.base.errors import UserError
from dcde.commands.preset import merge
from dcde.data.crops import eval_crops
from dcde.data.folder import Photo
from dcde.model import DCAE
from dcde.params.autoencoder import AutoencodeLossParams, AutoencoderParams, Part
from dcde.params.file import validate
from dcde.train.losses import build_terms
from tests.helpers.distill_run import curve, same_weights
from tests.helpers.tiny import ROOT, random_model, tiny_config


def test_the_encoders_terms_reach_encoder_and_decoder(tiny_model: DCAE) -> None:
    task, image = AutoencodeTask(tiny_model.train()), torch.rand(2, 3, 32, 32) * 2 - 1
    prediction = task.predict(task.module, {"image": image})
    # The residual stream after stages 1, 2 and 3; the tiny decoder has no stage 0.
    assert [a.shape[1:] for a in prediction.activations] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    loss = AutoencodeLossParams(image=1.0, lpips=0.0, latent=1.0, activation=1.0)
    terms = build_terms(loss, torch.nn.Identity)
    torch.stack([term(prediction) for term in terms.values()]).sum().backward()
    assert all(p.grad is not None for p in tiny_model.parameters())


@torch.no_grad()
def test_quiet_branches_leave_the_stream_nearly_alone(tiny_model: DCAE) -> None:
    block, x = tiny_model.decoder.stages[1].op_list[1], torch.randn(1, 8, 8, 8)
    before = block(x) - x
    norm = block.main.conv2.norm
    bias = torch.zeros_like(norm.bias)
    norm.bias.copy_(bias)
    loud = block(x) - x
    scale = norm.weight.clone()
    quiet_branches(tiny_model)
    quiet = block(x) - x
    torch.testing.assert_close(quiet, loud * (BRANCH_SCALE / scale)[:, None, None])
    assert quiet.norm() < 0.2 * before.norm()


def parameters(**phase: Any) -> AutoencoderParams:
    """The committed ones, with a first phase of seconds."""
    raw = yaml.safe_load((ROOT / "autoencoder/params.yaml").read_text())
    crops = {"image_size": 32, "short_side": [32, 64], "flip": True}
    short = {"epochs": 2, "samples_per_epoch": 16, "crops": crops}
    short["loss"] = {"image": 1.0, "lpips": 0.0, "latent": 1e-3}
    return AutoencoderParams.model_validate(
        merge(raw, {"phase1": {**short, **phase}, "runtime": {"workers": 0}})
    )


def run_phase(
    model: DCAE, params: AutoencoderParams, photos: tuple[Photo, ...], networks: Path, folder: Path
) -> DCAE:
    train_phase(
        model,
        "phase1",
        params,
        photos=photos,
        validation=[eval_crops(photo, 64, 1)[0] for photo in photos[:2]],
        lpips_weights=networks / "lpips_alex.safetensors",
        state_dir=folder,
    )
    return model


def fresh_model() -> DCAE:
    return random_model(tiny_config()).train()


MIDDLE = ("encoder.stages.3.", "encoder.project_out.", "decoder.project_in.", "decoder.stages.3.")
TRAINED = {
    "all": ("encoder.", "decoder."),
    "decoder": ("decoder.",),
    "middle": MIDDLE,
    "head": ("decoder.stages.1.", "decoder.project_out."),
}


@pytest.mark.parametrize("part", get_args(Part))
def test_a_phase_moves_its_part_and_nothing_else(
    part: Part, photo_list: tuple[Photo, ...], networks: Path, tmp_path: Path
) -> None:
    """Neither weights nor the statistics of batch norms of what is frozen."""
    before, model = fresh_model(), fresh_model()
    params = parameters(trains=part, ema=0.5)
    run_phase(model, params, photo_list, networks, tmp_path)
    moved = [
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before.state_dict()[name])
    ]
    prefixes = TRAINED[part]
    assert moved and all(name.startswith(prefixes) for name in moved)
    assert all(any(name.startswith(prefix) for name in moved) for prefix in prefixes)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in before.named_parameters() if n.startswith(prefixes)}
    pictures = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert pictures == ["epoch_001.jpg", "epoch_002.jpg"]
    assert list(curve(tmp_path, "validation/psnr_db")) == [3, 7]


def test_an_interrupted_phase_ends_as_one_that_was_not(
    photo_list: tuple[Photo, ...], networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = parameters()
    whole = run_phase(fresh_model(), params, photo_list, networks, tmp_path / "whole")
    with monkeypatch.context() as patch:
        # The second epoch's picture is the first thing that fails.
        drawn = iter([None])
        patch.setattr("dcde.autoencode.phase.save_picture", lambda *_: next(drawn))
        with pytest.raises(StopIteration):
            run_phase(fresh_model(), params, photo_list, networks, tmp_path / "cut")
    cut = run_phase(fresh_model(), params, photo_list, networks, tmp_path / "cut")
    assert same_weights(whole, cut)
    assert curve(tmp_path / "whole", "loss/total") == curve(tmp_path / "cut", "loss/total")


def test_start_is_an_architecture_or_a_model(tmp_path: Path) -> None:
    ours, again, other = (start_model("dc-ae-f16c16-photos", seed) for seed in (0, 0, 1))
    assert same_weights(ours, again) and not same_weights(ours, other)
    bundled = start_model("bundled:dc-ae-f16c16-photos", 0)
    assert bundled.config == ours.config and not same_weights(bundled, ours)


CROPS_OF_36 = {"image_size": 36, "short_side": [36, 64], "flip": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "dc-ae-f33"}, r"start: found 'dc-ae-f33', expected bundled:<name>, hf:"),
        (
            {"start": "bundled:other"},
            r"start: found 'bundled:other', expected bundled:<name> with dc",
        ),
        (
            {f"phase{i}": {"epochs": 0} for i in (1, 2, 3)},
            r"params\.yaml: phase1, phase2, phase3: found 0 epochs in each, expected some in one",
        ),
        ({"phase2": {"crops": CROPS_OF_36}}, r"phase2\.crops\.image_size: found 36"),
        ({"data": {"eval_size": 40}}, r"data\.eval_size: found 40"),
        ({"phase3": {"samples_per_epoch": 2}}, r"phase3\.batch_size: found 4, expected"),
    ],
)
def test_what_would_stop_a_run_is_known_before_it(changes: dict[str, Any], message: str) -> None:
    raw = yaml.safe_load((ROOT / "autoencoder/params.yaml").read_text())
    left_out = {"phase2": {"epochs": 0, "crops": CROPS_OF_36}}  # which stops nothing
    for right in ({}, left_out):
        check_phases(AutoencoderParams.model_validate(merge(raw, right)))
    with pytest.raises(UserError, match=message):
        check_phases(validate(merge(raw, changes), AutoencoderParams, where="params.yaml"))
