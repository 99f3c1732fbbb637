"""Students that are narrow inside, as diffusers loads, saves and runs them."""

import copy
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
from dcde.prune.shape import narrower_config
from tests.helpers.peers import scaled_down
from tests.helpers.tiny import model_of, random_model, run, tiny_config

diffusers = pytest.importorskip("diffusers")

from dcde.model.narrow_autoencoder_dc import NarrowAutoencoderDC  # noqa: E402


def student(config: Any = None) -> DCAE:
    """Random weights, and about a third of the channels inside the blocks."""
    config = config or tiny_config()
    return random_model(narrower_config(config, None, [0.3] * len(config.decoder.widths)))


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


SPAWN = """
import sys
import torch
import torch.multiprocessing as mp
sys.modules["dcde"] = None  # as where it is not installed


def decode(vae, latent, path):
    with torch.inference_mode():
        torch.save(vae.decode(latent).sample, path)


if __name__ == "__main__":
    from diffusers import AutoModel

    folder, latent = sys.argv[1], torch.load(sys.argv[2])
    for path in sys.argv[3:]:  # each load runs the file beside the weights again
        vae = AutoModel.from_pretrained(folder, trust_remote_code=True)
        process = mp.get_context("spawn").Process(target=decode, args=(vae, latent, path))
        process.start()
        process.join()
"""


@pytest.mark.slow
def test_it_is_sent_to_spawned_processes(tmp_path: Path) -> None:
    ours, latent = student(), torch.randn(1, 4, 2, 2)
    save_model(ours, tmp_path / "vae", "diffusers")
    torch.save(latent, tmp_path / "latent.pt")
    (tmp_path / "spawn.py").write_text(SPAWN)
    files = [str(tmp_path / name) for name in ("vae", "latent.pt", "first.pt", "second.pt")]
    env = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    done = run([sys.executable, "spawn.py", *files], tmp_path, **env)
    for file in files[2:]:
        assert Path(file).is_file(), done.stderr
        torch.testing.assert_close(torch.load(file), ours.decode(latent), atol=1e-5, rtol=1e-5)


def test_a_copy_is_of_the_same_class() -> None:
    vae = NarrowAutoencoderDC.from_config(config_to_diffusers(student().config))
    twin, before = copy.deepcopy(vae), next(vae.parameters()).clone()
    assert type(twin) is NarrowAutoencoderDC and twin.config == vae.config
    torch.nn.init.zeros_(next(twin.parameters()))
    assert torch.equal(next(vae.parameters()), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_loads_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    ours = student()
    save_model(ours, tmp_path, "diffusers")
    theirs = NarrowAutoencoderDC.from_pretrained(tmp_path, torch_dtype=dtype)
    assert {p.dtype for p in theirs.parameters()} == {dtype}
    theirs.save_pretrained(tmp_path / "half")
    assert (tmp_path / "half/narrow_autoencoder_dc.py").is_file()
    back = read_model(tmp_path / "half")  # as diffusers saved it
    assert back.config.decoder == ours.config.decoder
    key = "decoder.project_in.main.conv.weight"
    assert torch.equal(back.state_dict()[key], ours.state_dict()[key].to(dtype).float())


@pytest.mark.parametrize("inner", [[4, 4], [4, 4, 0, 8], [4, 4, 2.5, 8]])
def test_inner_channels_that_can_not_be_are_refused(inner: list[Any], tmp_path: Path) -> None:
    raw = config_to_diffusers(student().config)
    save_model(student(), tmp_path, "diffusers")
    (tmp_path / "config.json").write_text(json.dumps(raw | {"decoder_inner_channels": inner}))
    with pytest.raises(UserError, match=r"config\.json: .*inner_widths"):
        read_model(tmp_path)


def test_the_field_is_unknown_to_diffusers_own_class(tmp_path: Path) -> None:
    raw = config_to_diffusers(student().config) | {"_class_name": "AutoencoderDC"}
    del raw["auto_map"]
    save_model(student(), tmp_path, "diffusers")
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match=r"config\.json: decoder_inner_channels: unknown"):
        read_model(tmp_path)
