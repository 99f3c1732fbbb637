"""The model against diffusers' implementation, and the zoo against the published counts."""

import pytest
import torch

from dcde.model import DCAE, DecoderConfig, zoo_config, zoo_names
from dcde.model.costs import count_parameters
from dcde.model.dcae import build_on_meta
from tests.helpers.peers import PEERS, peer, relative_error, scaled_down
from tests.helpers.tiny import random_model, tiny_config

diffusers = pytest.importorskip("diffusers")
from diffusers.loaders.single_file_utils import (  # noqa: E402
    convert_autoencoder_dc_checkpoint_to_diffusers,
)


def test_inference_mode_leaves_the_model_trainable(tiny_model: DCAE) -> None:
    with torch.inference_mode():
        image, latent = torch.randn(1, 3, 16, 16), torch.randn(1, 4, 2, 2)
        expected = tiny_model.encode(image), tiny_model.decode(latent)
    found = tiny_model.encode(image), tiny_model.decode(latent)
    assert all(map(torch.equal, found, expected))
    found[1].sum().backward()
    assert next(tiny_model.decoder.parameters()).grad is not None


@pytest.mark.parametrize(("name", "latent_channels"), PEERS)
@torch.no_grad()
def test_equals_diffusers_on_the_same_weights(name: str, latent_channels: int) -> None:
    config = scaled_down(name, latent_channels)
    ours, theirs = random_model(config), peer(config)
    state = convert_autoencoder_dc_checkpoint_to_diffusers(ours.state_dict())
    if config.encoder.first_stage != config.decoder.first_stage:
        # The converter takes the decoder's outer convolution to be of the encoder's kind.
        for part in ("weight", "bias"):
            state[f"decoder.conv_out.conv.{part}"] = state.pop(f"decoder.conv_out.{part}")
    theirs.load_state_dict(state)

    f = config.downsampling
    # Both forms of the attention: 2 x 2 positions at the latent, 8 x 12 further out.
    for height, width in ((2, 2), (8, 12)):
        image = torch.randn(1, 3, height * f, width * f)
        latent = torch.randn(1, latent_channels, height, width)
        assert relative_error(ours.encode(image), theirs.encode(image).latent) < 1e-5
        assert relative_error(ours.decode(latent), theirs.decode(latent).sample) < 1e-5


# Millions of decoder parameters of the published architecture.
MEASURED = {
    "": 200.18,
    "-w3-v2": 179.07,
    "-w4-v1": 174.22,
    "-w4-v2": 153.11,
    "-w4-v3": 136.59,
}


@pytest.mark.parametrize("student", MEASURED)
def test_full_size_parameters(student: str) -> None:
    model = build_on_meta(zoo_config(f"dc-ae-f32c32-in-1.0{student}"))
    assert count_parameters(model.encoder) / 1e6 == pytest.approx(123.17, abs=0.01)
    assert count_parameters(model.decoder) / 1e6 == pytest.approx(MEASURED[student], abs=0.01)


@pytest.mark.parametrize("name", zoo_names())
def test_every_named_model_maps_images_to_its_latent_and_back(name: str) -> None:
    config = zoo_config(name)
    factor = int(name.split("-f")[1].split("c")[0])
    channels = int(name.split("c")[-1].split("-")[0])
    assert (config.downsampling, config.latent_channels) == (factor, channels)
    with torch.device("meta"):
        model = DCAE(config)
        image = torch.empty(1, 3, 2 * factor, 4 * factor)
    assert model.encode(image).shape == (1, channels, 2, 4)
    assert model(image).shape == image.shape


@torch.no_grad()
def test_taps_are_the_steps_of_the_output_head(tiny_model: DCAE) -> None:
    latent = torch.randn(2, 4, 3, 5)
    taps = ("image", "stream", "norm", "act", "stage1", "stage3")
    image, features = tiny_model.decode(latent, taps)
    norm, act, conv = tiny_model.decoder.project_out.op_list
    assert torch.equal(image, tiny_model.decode(latent))
    assert torch.equal(features["image"], image)
    assert torch.equal(features["stream"], features["stage1"])
    assert torch.equal(features["norm"], norm(features["stream"]))
    assert torch.equal(features["act"], act(features["norm"]))
    assert torch.equal(features["image"], conv(features["act"]))
    assert features["stage3"].shape == (2, 32, 3, 5)
    assert not any(module._forward_hooks for module in tiny_model.modules())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depths", (0, 3, 2), "depths: found 3 entries, expected 4"),
        ("depths", (0, 3, 0, 2), "expected at least 1 at every stage but the first"),
        ("widths", (4, 8, 16, 40), "stage 3 has 40, expected a multiple of 32"),
        ("widths", (4, 6, 16, 32), "4 \\* 6 to be a multiple of 16"),
        ("inner_widths", (4, 8, 16), "inner_widths: found 3 entries, expected 4"),
        ("inner_widths", (4, 8, 0, 128), "inner_widths.2"),
    ],
)
def test_impossible_stages_are_refused(field: str, value: tuple[int, ...], message: str) -> None:
    decoder = tiny_config().decoder.model_dump()
    with pytest.raises(ValueError, match=message):
        DecoderConfig(**{**decoder, field: value})
