"""Students that are narrow inside, as diffusers loads, saves and runs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dcde.base.errors import UserError
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.model.diffusers_format import config_to_diffusers
from dcde.model.diffusers_peer import diffusers_model
from dcde.prune.shape import narrower_config
from tests.helpers.peers import scaled_down
from tests.helpers.tiny import model_of, randomize, run, tiny_config

diffusers = pytest.importorskip("diffusers")

from dcde.model.narrow_autoencoder_dc import NarrowAutoencoderDC  # noqa: E402

LOAD = """
import sys
sys.modules["dcde"] = None  # as where it is not installed
import torch
from diffusers import AutoModel

vae = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
assert type(vae).__name__ == "NarrowAutoencoderDC"
with torch.no_grad():
    torch.save(vae.decode(torch.load(sys.argv[2])).sample, sys.argv[3])
vae.save_pretrained(sys.argv[4])
"""


def student(config: Any = None, seed: int = 0) -> DCAE:
    """Random weights, and about a third of the channels inside the blocks."""
    config = config or tiny_config()
    ours = DCAE(narrower_config(config, None, [0.3] * len(config.decoder.widths)))
    randomize(ours, seed)
    return ours.eval()


def alone(script: str, *arguments: object, home: Path) -> str:
    """What a script prints in a process of its own, without a network."""
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules")}
    done = run([sys.executable, "-c", script, *map(str, arguments)], home, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@torch.no_grad()
def test_an_export_loads_where_we_are_not_installed(tmp_path: Path) -> None:
    ours, latent = student(), torch.randn(2, 4, 3, 5)
    save_model(ours, tmp_path / "model", "diffusers")
    torch.save(latent, tmp_path / "latent.pt")
    files = (tmp_path / "model", tmp_path / "latent.pt", tmp_path / "image.pt", tmp_path / "again")
    said = alone(LOAD, *files, home=tmp_path)
    assert "not expected" not in said
    torch.testing.assert_close(torch.load(files[2]), ours.decode(latent), atol=1e-5, rtol=1e-5)
    again = read_model(files[3])  # saved by diffusers
    assert again.config.decoder == ours.config.decoder
    assert (files[3] / "narrow_autoencoder_dc.py").is_file()
    assert torch.equal(again.decode(latent), ours.decode(latent))


KINDS = {
    "f32c32 with Sana's decoder": lambda: scaled_down("dc-ae-f32c32-sana-1.0", 32),
    "residual, linear attention, attention of two scales": lambda: model_of("RES").config,
    "convolutions after interpolation": lambda: model_of(upsample="InterpolateConv").config,
}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_computes_what_ours_does(kind: str, tmp_path: Path) -> None:
    ours = student(KINDS[kind]())
    save_model(ours, tmp_path, "diffusers")
    theirs, info = NarrowAutoencoderDC.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    count = sum(p.numel() for p in ours.parameters())
    assert sum(p.numel() for p in theirs.parameters()) == count
    f, channels = ours.config.downsampling, ours.config.latent_channels
    latent, image = torch.randn(2, channels, 3, 5), torch.randn(1, 3, 2 * f, 3 * f)
    for found, expected in (
        (theirs.decode(latent).sample, ours.decode(latent)),
        (theirs.encode(image).latent, ours.encode(image)),
    ):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert theirs.config.scaling_factor == ours.config.scaling_factor


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_loads_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    ours = student()
    save_model(ours, tmp_path, "diffusers")
    theirs = NarrowAutoencoderDC.from_pretrained(tmp_path, torch_dtype=dtype)
    assert {p.dtype for p in theirs.parameters()} == {dtype}
    theirs.save_pretrained(tmp_path / "half")
    back = read_model(tmp_path / "half")
    key = "decoder.project_in.main.conv.weight"
    assert torch.equal(back.state_dict()[key], ours.state_dict()[key].to(dtype).float())


@torch.no_grad()
def test_tiles_and_slices_are_decoded_as_diffusers_does() -> None:
    """Of a model that is as wide inside as `AutoencoderDC`, so that both classes can be it."""
    plain = DCAE(tiny_config())
    randomize(plain)
    theirs = diffusers_model(plain.eval())
    widths = [plain.config.decoder.inner_width(i) for i in range(4)]
    whole = NarrowAutoencoderDC.from_config(
        dict(theirs.config) | {"decoder_inner_channels": widths}
    )
    whole.load_state_dict(theirs.state_dict())
    latent = torch.randn(2, 4, 12, 20)
    for vae in (theirs, whole.eval()):
        vae.enable_slicing()
        vae.enable_tiling(64, 64, 48, 48)
    assert torch.equal(whole.decode(latent).sample, theirs.decode(latent).sample)
    untiled = diffusers_model(plain).decode(latent).sample
    assert whole.decode(latent).sample.shape == untiled.shape
    assert not torch.equal(whole.decode(latent).sample, untiled)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ([4, 4], r"decoder_inner_channels: found \[4, 4\], expected 4 whole numbers above 0"),
        ([4, 4, 0, 8], r"decoder_inner_channels: found \[4, 4, 0, 8\], expected 4 whole"),
        ([4, 4, 2.5, 8], r"decoder_inner_channels: found .*2\.5"),
    ],
)
def test_inner_channels_that_can_not_be_are_refused(
    inner: list[Any], message: str, tmp_path: Path
) -> None:
    raw = config_to_diffusers(student().config)
    with pytest.raises(ValueError, match=message):
        NarrowAutoencoderDC.from_config(raw | {"decoder_inner_channels": inner})
    save_model(student(), tmp_path, "diffusers")
    (tmp_path / "config.json").write_text(json.dumps(raw | {"decoder_inner_channels": inner}))
    with pytest.raises(UserError, match=r"config\.json: .*inner_widths"):
        read_model(tmp_path)


def test_the_field_is_unknown_to_diffusers_own_class(tmp_path: Path) -> None:
    raw = config_to_diffusers(student().config) | {"_class_name": "AutoencoderDC"}
    save_model(student(), tmp_path, "diffusers")
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match=r"auto_map: unknown|decoder_inner_channels: unknown"):
        read_model(tmp_path)
