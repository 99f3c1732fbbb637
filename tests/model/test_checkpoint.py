"""Models on disk: three layouts, exact errors, and no half-written folder."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcde.base.errors import UserError
from dcde.base.files import whole_folder
from dcde.model import DCAE, zoo_config
from dcde.model.checkpoint import Layout, read_model, save_model
from dcde.model.diffusers_format import config_to_diffusers
from dcde.model.diffusers_peer import diffusers_model
from dcde.model.sources import load_model
from dcde.model.weights import weights_file
from dcde.train.run_state import atomic_torch_save
from tests.helpers.distill_run import same_weights
from tests.helpers.peers import peer, relative_error, scaled_down
from tests.helpers.tiny import ROOT, compiled, randomize, run


def test_round_trip_is_exact(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model")
    for path in (tmp_path / "model", tmp_path / "model/model.safetensors"):
        loaded = read_model(path)
        assert loaded.config == tiny_model.config
        assert same_weights(loaded, tiny_model)
        assert not loaded.training


@pytest.mark.parametrize("part", ["", "decoder", "decoder.stages.1"])
@pytest.mark.parametrize("layout", ["safetensors", "diffusers"])
def test_compiled_models_are_saved_as_plain_ones(
    layout: Layout, part: str, tiny_model: DCAE, tmp_path: Path
) -> None:
    expected = copy.deepcopy(tiny_model)
    save_model(compiled(tiny_model, part), tmp_path / "model", layout)
    assert not any("_orig_mod" in key for key in load_file(weights_file(tmp_path / "model")))
    assert same_weights(read_model(tmp_path / "model"), expected)


@pytest.mark.parametrize("part", ["decoder", "decoder.up_blocks.1"])
def test_weights_that_others_saved_of_a_compiled_model(
    part: str, tiny_model: DCAE, tmp_path: Path
) -> None:
    compiled(diffusers_model(tiny_model), part).save_pretrained(tmp_path)
    assert any("_orig_mod" in key for key in load_file(weights_file(tmp_path)))
    assert same_weights(read_model(tmp_path), tiny_model)


def test_the_published_layout_is_read(tmp_path: Path) -> None:
    """efficientvit's config.json has the architecture's name alone."""
    model = randomize(DCAE(zoo_config("dc-ae-f16c16-photos")))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_name": "dc-ae-f16c16-photos"}')
    assert same_weights(read_model(tmp_path), model)


def test_half_precision_is_read_as_fp32(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model.half(), tmp_path / "model")
    assert next(read_model(tmp_path / "model").parameters()).dtype == torch.float32


def test_saving_twice_gives_the_same_bytes(tiny_model: DCAE, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(tiny_model, tmp_path / name)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


IN, SANA = "dc-ae-f32c32-in-1.0", "dc-ae-f32c32-sana-1.0"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (IN, {}),
        (SANA, {}),
        (IN, {"encoder_block_types": ("ResBlock",) * 6, "encoder_qkv_multiscales": ((),) * 6}),
        (IN, {"decoder_qkv_multiscales": ((), (), (), (5,), (), (5,))}),
        (IN, {"encoder_qkv_multiscales": ((), (), (), (5,), (5,), ())}),
        (IN, {"decoder_norm_types": "rms_norm"}),
        (IN, {"decoder_norm_types": "batch_norm"}),
        (IN, {"decoder_act_fns": "relu"}),
        (IN, {"decoder_act_fns": "silu", "decoder_conv_act_fn": "silu"}),
        (IN, {"upsample_block_type": "interpolate"}),
        (IN, {"downsample_block_type": "conv"}),
        (IN, {"decoder_layers_per_block": (1, 1, 2, 0, 1, 1)}),
    ],
    ids=str,
)
def test_each_field_of_diffusers_config_is_read(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    diffusers = pytest.importorskip("diffusers")
    config = peer(scaled_down(name, 32)).config
    known = {key: value for key, value in config.items() if not key.startswith("_")}
    theirs = diffusers.AutoencoderDC(**known | changes).eval()
    randomize(theirs)
    theirs.save_pretrained(tmp_path)
    try:
        ours = read_model(tmp_path)
    except UserError as error:  # refused by name, then, and not misread
        assert next(iter(changes)).partition("_")[2] in str(error) or "depths" in str(error)
        return
    latent, image = torch.randn(1, 32, 2, 3), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative_error(ours.decode(latent), theirs.decode(latent).sample) < 1e-5
        assert relative_error(ours.encode(image), theirs.encode(image).latent) < 1e-5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("in_channels", 4, "in_channels: found 4, expected 3"),
        ("attention_head_dim", 16, "attention_head_dim: found 16, expected 32"),
        ("encoder_out_shortcut", False, "encoder_out_shortcut: found False, expected True"),
        ("decoder_in_shortcut", False, "decoder_in_shortcut: found False, expected True"),
        ("decoder_block_types", "VitBlock", "decoder_block_types: found 'VitBlock', expected"),
        ("encoder_qkv_multiscales", [[], [], [], [3], [5], [5]], r"multiscales: found \[3\], exp"),
        ("upsample_block_type", "nearest", "upsample_block_type: found 'nearest', expected"),
        ("downsample_block_type", "pool", "downsample_block_type: found 'pool', expected"),
        ("decoder_act_fns", "gelu", "acts"),
        ("decoder_norm_types", "layer_norm", "decoder_norm_types: found 'layer_norm', expected"),
        ("decoder_conv_act_fn", "gelu", "out_act"),
        ("scaling_factor", "large", "scaling_factor"),
        ("latent_channels", 0, "latent_channels"),
        ("encoder_block_out_channels", [0, 8], "block_types: found .*, expected a list of 2"),
        ("mid_block", True, "mid_block: unknown"),
        ("latent_channels", None, "latent_channels: missing"),
    ],
)
def test_what_diffusers_can_and_we_cannot_is_refused_by_its_field(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    config = config_to_diffusers(zoo_config("dc-ae-f32c32-sana-1.0")) | {field: value}
    if value is None:
        del config[field]
    save_file({"x": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"config\.json: .*{message}"):
        read_model(tmp_path)


def test_the_file_that_is_named_is_the_one_that_is_read(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(tiny_model, folder)
    other = DCAE(tiny_model.config)
    save_file(dict(other.state_dict()), folder / "ema.safetensors")
    for read in (read_model, lambda path: load_model(str(path))):
        assert same_weights(read(folder / "ema.safetensors"), other)
    with pytest.raises(UserError, match=r"typo\.safetensors"):
        load_model(str(folder / "typo.safetensors"))
    with pytest.raises(UserError, match=r"config\.json: is no such file, expected a folder"):
        load_model(str(folder / "config.json"))


FIRST = "encoder.project_in.conv.conv.weight"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({FIRST: None}, f"tensor {FIRST} is missing"),
        ({FIRST: torch.zeros(1, 1)}, rf"tensor {FIRST} has shape \[1, 1\], expected \[2, "),
        ({FIRST: torch.full((2, 3, 3, 3), torch.nan)}, f"{FIRST} has values that are not finite"),
        ({FIRST: torch.zeros(2, 3, 3, 3).to(torch.int8)}, rf"{FIRST} is torch\.int8, expected"),
        ({"decoder.more": torch.zeros(1)}, "tensor decoder.more is not part of the model"),
    ],
)
def test_wrong_tensors_are_named(
    tensors: dict[str, torch.Tensor | None], message: str, tiny_model: DCAE, tmp_path: Path
) -> None:
    save_model(tiny_model, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    changed = load_file(weights) | tensors
    save_file({key: tensor for key, tensor in changed.items() if tensor is not None}, weights)
    with pytest.raises(UserError, match=message):
        read_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "config.json: not found"),
        ("{", "not valid JSON"),
        ("[]", "found a list, expected a JSON object"),
        ('{"model_name": "dc-ae-f31"}', "found 'dc-ae-f31', expected one of"),
        ('{"width": 3}', "unknown layout"),
        ('{"dcde": {"name": "x"}}', "config.json: latent_channels"),
    ],
)
def test_bad_config_is_named(config: str | None, message: str, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=message):
        read_model(tmp_path)


def test_missing_folder_and_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: not found"):
        read_model(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_name": "dc-ae-f16c16-photos"}')
    with pytest.raises(UserError, match=r"found no weights, expected model\.safetensors"):
        read_model(tmp_path)


def test_only_a_model_is_replaced(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model")
    save_model(tiny_model, tmp_path / "model")
    notes = tmp_path / "model/notes.txt"
    notes.touch()
    with pytest.raises(UserError, match=r"model: found notes\.txt in it, expected a new folder"):
        save_model(tiny_model, tmp_path / "model")
    with pytest.raises(UserError, match=r"notes\.txt: found a file, expected a new folder"):
        save_model(tiny_model, notes)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "config.json",
        "model.safetensors",
        "notes.txt",
    ]


# A limit of the file's size stands for a full disk.
SAVE = """
import resource, sys
from pathlib import Path
import torch
from dcde.base.errors import one_line_errors
from dcde.train.run_state import atomic_torch_save
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
with one_line_errors():
    atomic_torch_save({"x": torch.zeros(100_000)}, Path(sys.argv[1]))
"""


def test_full_disk_leaves_the_state_that_was_there(tmp_path: Path) -> None:
    """And the model: tests/distill/test_validation.py."""
    path = tmp_path / "state"
    atomic_torch_save({"x": torch.ones(3)}, path)
    done = run([sys.executable, "-c", SAVE, str(path)], ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: can't be written")
    assert len(done.stderr.splitlines()) == 1
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old/weights").write_text("finished")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "model"):
        _ = 1 / 0
    assert (tmp_path / "model/weights").read_text() == "finished"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
