"""Models on disk: three layouts, exact errors, and no half-written folder."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcde.base.errors import UserError
from dcde.base.files import sha256_of, whole_folder
from dcde.model import DCAE, zoo_config
from dcde.model.checkpoint import read_model, save_model
from dcde.model.dcae import build_on_meta
from dcde.model.diffusers_format import config_to_diffusers
from dcde.model.sources import load_model, load_teacher
from dcde.train.run_state import atomic_torch_save
from tests.helpers.tiny import ROOT, randomize, run, tiny_config


def same_weights(a: DCAE, b: DCAE) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_round_trip_is_exact(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model")
    for path in (tmp_path / "model", tmp_path / "model/model.safetensors"):
        loaded = read_model(path)
        assert loaded.config == tiny_model.config
        assert same_weights(loaded, tiny_model)
        assert not loaded.training


def test_half_precision_is_read_as_fp32(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model.half(), tmp_path / "model")
    assert next(read_model(tmp_path / "model").parameters()).dtype == torch.float32


def test_saving_twice_gives_the_same_bytes(tiny_model: DCAE, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(tiny_model, tmp_path / name)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_reads_the_published_layout(tmp_path: Path) -> None:
    """efficientvit's: the keys as they are, and a config.json with the model's name alone."""
    name = "dc-ae-f16c16-photos"  # the smallest in the zoo; all share the keys' form
    model = DCAE(zoo_config(name))
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_name": name}))
    assert same_weights(read_model(tmp_path), model)


def test_published_keys_are_ours() -> None:
    keys = build_on_meta(zoo_config("dc-ae-f32c32-in-1.0")).state_dict().keys()
    assert {
        "decoder.stages.2.op_list.1.main.conv1.conv.weight",
        "decoder.stages.4.op_list.1.context_module.main.qkv.conv.weight",
        "decoder.stages.4.op_list.1.local_module.main.inverted_conv.conv.weight",
        "decoder.project_out.op_list.0.weight",
    } <= keys


@pytest.mark.parametrize("name", ["dc-ae-f32c32-in-1.0", "dc-ae-f32c32-sana-1.0"])
def test_reads_the_diffusers_layout(name: str, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from tests.helpers.peers import peer, relative_error, scaled_down

    theirs = peer(scaled_down(name, 32))
    randomize(theirs)
    theirs.save_pretrained(tmp_path)
    ours = read_model(tmp_path)
    latent = torch.randn(1, 32, 2, 3)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative_error(ours.decode(latent), theirs.decode(latent).sample) < 1e-5
        assert relative_error(ours.encode(image), theirs.encode(image).latent) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_block_types": ("ResBlock",) * 6, "encoder_qkv_multiscales": ((),) * 6},
        {"decoder_qkv_multiscales": ((), (), (), (5,), (), (5,))},
        {"encoder_qkv_multiscales": ((), (), (), (5,), (5,), ())},
        {"decoder_norm_types": "rms_norm"},
        {"decoder_norm_types": "batch_norm"},
        {"decoder_act_fns": "relu"},
        {"decoder_act_fns": "silu", "decoder_conv_act_fn": "silu"},
        {"upsample_block_type": "interpolate"},
        {"downsample_block_type": "conv"},
        {"decoder_layers_per_block": (1, 1, 2, 0, 1, 1)},
    ],
    ids=str,
)
def test_each_field_of_diffusers_config_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    from tests.helpers.peers import peer, relative_error, scaled_down

    config = dict(peer(scaled_down("dc-ae-f32c32-in-1.0", 32)).config)
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
        (
            "encoder_qkv_multiscales",
            [[], [], [], [3], [5], [5]],
            r"encoder_qkv_multiscales: found \[3\], expected \[\] or \[5\]",
        ),
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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (float("nan"), "has values that are not finite"),
        (float("inf"), "has values that are not finite"),
        (torch.int8, r"is torch\.int8, expected floating-point numbers"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    values: float | torch.dtype, message: str, tiny_model: DCAE, tmp_path: Path
) -> None:
    save_model(tiny_model, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    state, name = load_file(weights), "decoder.stages.1.op_list.1.main.conv1.conv.weight"
    if isinstance(values, float):
        state[name][0, 0, 0, 0] = values
    else:
        state[name] = state[name].to(values)
    save_file(state, weights)
    with pytest.raises(UserError, match=f"{name} {message}"):
        read_model(tmp_path / "model")


def test_the_file_that_is_named_is_the_one_that_is_read(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(tiny_model, folder)
    other = DCAE(tiny_model.config)
    save_file(dict(other.state_dict()), folder / "ema.safetensors")
    for read in (read_model, lambda path: load_model(str(path))):
        assert same_weights(read(folder / "ema.safetensors"), other)
    teacher, found = load_teacher(str(folder / "ema.safetensors"), None)
    assert same_weights(teacher, other) and found == sha256_of(folder / "ema.safetensors")
    with pytest.raises(UserError, match=r"typo\.safetensors"):
        read_model(folder / "typo.safetensors")
    with pytest.raises(UserError, match=r"typo\.safetensors"):
        load_model(str(folder / "typo.safetensors"))
    with pytest.raises(UserError, match=r"config\.json: is no such file, expected a folder"):
        load_model(str(folder / "config.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "tensor encoder.project_in.conv.conv.weight is missing"),
        ("extra", "tensor decoder.surplus is not part of the model"),
        ("shape", r"tensor encoder.project_in.conv.conv.weight has shape \[1, 1\], expected \[2, "),
    ],
)
def test_wrong_tensors_are_named(
    change: str, message: str, tiny_model: DCAE, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save_model(tiny_model, folder)
    state = load_file(folder / "model.safetensors")
    first = "encoder.project_in.conv.conv.weight"
    if change == "missing":
        del state[first]
    elif change == "extra":
        state["decoder.surplus"] = torch.zeros(1)
    else:
        state[first] = torch.zeros(1, 1)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UserError, match=message):
        read_model(folder)


def test_truncated_weights_are_refused(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(tiny_model, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: not a whole safetensors file"):
        read_model(folder)


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


SAVE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, "tests")
from tests.helpers.tiny import tiny_config
from dcde.model.checkpoint import save_model
from dcde.base.errors import one_line_errors
from dcde.model import DCAE
model = DCAE(tiny_config())
if len(sys.argv) > 2:  # a file size limit stands for a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
with one_line_errors():
    print("ready", flush=True)
    for _ in range(1 if len(sys.argv) > 2 else 10_000):
        save_model(model, Path(sys.argv[1]))
"""


def test_full_disk_leaves_the_finished_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    before = DCAE(tiny_config())
    save_model(before, folder)
    done = run([sys.executable, "-c", SAVE, str(folder), "20000"], ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {folder}: can't be written")
    assert len(done.stderr.splitlines()) == 1
    assert same_weights(read_model(folder), before)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


SAVE_STATE = """
import resource, sys
from pathlib import Path
import torch
from dcde.base.errors import one_line_errors
from dcde.train.run_state import atomic_torch_save
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
with one_line_errors():
    atomic_torch_save({"x": torch.zeros(100_000)}, Path(sys.argv[1]))
"""


def test_full_disk_leaves_the_saved_state(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    atomic_torch_save({"x": torch.ones(3)}, path)
    done = run([sys.executable, "-c", SAVE_STATE, str(path)], ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: can't be written")
    assert len(done.stderr.splitlines()) == 1
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_kill_while_saving_leaves_no_partial_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    rng = random.Random(0)
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVE, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05 + 0.1 * rng.random())
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if folder.exists():  # between two renames there is none, but never a part of one
            read_model(folder)
    save_model(DCAE(tiny_config()), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old/weights").write_text("finished")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "model"):
        _ = 1 / 0
    assert (tmp_path / "model/weights").read_text() == "finished"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
