"""params.yaml: good values pass, bad ones are refused by their full name in one line."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from dvc.utils.hydra import apply_overrides

from dcde.base.devices import loader_workers
from dcde.base.errors import UserError
from dcde.commands.preset import merge, preset_names, read_preset
from dcde.model import zoo_config
from dcde.params.autoencoder import AutoencoderParams
from dcde.params.file import load_params, validate
from dcde.params.overrides import leaves, overrides
from dcde.params.pipeline import Params
from tests.helpers.tiny import ROOT


def committed() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def test_params_yaml_is_complete_and_has_the_defaults() -> None:
    """Complete, because `-S` only changes what is there."""
    assert load_params(ROOT / "params.yaml", Params) == Params()
    assert leaves(committed()).keys() == leaves(Params().model_dump()).keys()
    raw = yaml.safe_load((ROOT / "autoencoder/params.yaml").read_text())
    params = load_params(ROOT / "autoencoder/params.yaml", AutoencoderParams)
    assert leaves(raw).keys() == leaves(params.model_dump()).keys()


def test_taps_have_names_and_the_original_recipes_numbers() -> None:
    raw = committed()
    for number, name in enumerate(("image", "stream", "norm", "act")):
        for value in (number, name):
            raw["distill"]["tap"] = value
            assert validate(raw, Params, where="params.yaml").distill.tap == name


@pytest.mark.parametrize("preset", preset_names(ROOT / "autoencoder/presets"))
def test_presets_of_the_autoencoder_are_valid(preset: str) -> None:
    folder = ROOT / "autoencoder"
    settings = merge(
        yaml.safe_load((folder / "params.yaml").read_text()),
        read_preset(folder / "presets", preset),
    )
    params = validate(settings, AutoencoderParams, where=preset)
    config = zoo_config(params.start)
    for name, phase in params.phases().items():
        config.check_image_size(name, phase.crops.image_size)


def test_numbers_in_yaml_1_2_notation_are_numbers(tmp_path: Path) -> None:
    """`dvc exp run -S loss.gamma=0.00001` writes 1e-05, which PyYAML reads as a string."""
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("gamma: ", "gamma: 1e-05 #"))
    assert yaml.safe_load(path.read_text())["loss"]["gamma"] == "1e-05"
    assert load_params(path, Params).loss.gamma == 1e-5


BAD = [
    ("distill.tap", 4, "params.yaml: distill.tap: found 4; input should be 'image', 'stream', "),
    ("distill.tpa", 3, "params.yaml: distill.tpa: unknown parameter; did you mean 'tap'?"),
    ("prune.method", "best", "params.yaml: prune.method: found 'best'; input should be 'direct', "),
    ("loss.gamma", -1, "params.yaml: loss.gamma: found -1; input should be greater than or equal"),
    ("loss.gamma", float("nan"), "params.yaml: loss.gamma: found nan; input should be"),
    ("distill.division_epoch", 99, "params.yaml: distill: division_epoch: found 99, expected less"),
    ("distill.crops.short_side", [64, 64], "distill.crops: short_side: found [64, 64], expected"),
    ("optimizer.lr", 0, "params.yaml: optimizer.lr: found 0; input should be greater than 0"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD, ids=[f"{b[0]}={b[1]}" for b in BAD])
def test_bad_value_is_named(field: str, value: Any, message: str) -> None:
    raw = committed()
    section: Any = raw
    *path, last = field.split(".")
    for part in path:
        section = section[part]
    section[last] = value
    with pytest.raises(UserError) as caught:
        validate(raw, Params, where="params.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_epoch_has_no_time_for_the_dynamic_loss() -> None:
    raw = committed()
    raw["distill"] |= {"epochs": 1, "shallow_epochs": 0, "dynamic_loss": True}
    with pytest.raises(UserError, match="a single epoch needs dynamic_loss: false"):
        validate(raw, Params, where="params.yaml")


def test_discriminator_steps_at_most_as_often_as_the_generator() -> None:
    raw = committed()
    raw["distill"]["batch_size"], raw["gan"]["ratio"] = 8, 7
    raw["loss"]["gamma"] = 0.0
    validate(raw, Params, where="params.yaml")  # without the GAN its ratio does not matter
    raw["loss"]["gamma"] = 0.1
    with pytest.raises(UserError, match=r"gan\.ratio: found 7, expected at least .* \(8\)"):
        validate(raw, Params, where="params.yaml")
    raw["gan"]["ratio"], raw["distill"]["accumulation_steps"] = 15, 2
    with pytest.raises(UserError, match=r"gan\.ratio: found 15, expected at least .* \(16\)"):
        validate(raw, Params, where="params.yaml")


def test_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: not found"):
        load_params(tmp_path / "params.yaml", Params)
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml", Params)


def test_workers_are_chosen_by_the_cores_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def workers(asked: int | None, cores: int, gpu: bool) -> int:
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        return loader_workers(asked)

    assert [workers(None, cores, True) for cores in (1, 4, 64)] == [0, 3, 8]
    assert workers(None, 64, False) == 0
    assert workers(12, 64, True) == workers(12, 2, False) == 12


@pytest.mark.parametrize(
    "value",
    [
        *(None, [0, 1, 2], True, "env OMP_NUM_THREADS=1 python", "0123456789", "12e4567", "null"),
        *('/my photos/a "b", {c}=[d].pth', "hf:owner/name@v1.0/vae", "/data/für"),
    ],
)
def test_dvc_reads_each_override_as_the_value_it_came_from(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("eval: {weights: before}\n")
    apply_overrides(path, overrides({"eval.weights": value}))
    assert yaml.safe_load(path.read_text()) == {"eval": {"weights": value}}
