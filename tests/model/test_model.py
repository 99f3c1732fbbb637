"""The model against diffusers' implementation, and the zoo against the published counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dcde.model import DCAE, DCAEConfig, DecoderConfig, zoo_config, zoo_names
from dcde.model.costs import static_costs
from tests.helpers.peers import PEERS, relative_error, scaled_down
from tests.helpers.tiny import randomize, tiny_config

diffusers = pytest.importorskip("diffusers")
from diffusers.loaders.single_file_utils import (  # noqa: E402
    convert_autoencoder_dc_checkpoint_to_diffusers,
)


def peer(config: DCAEConfig) -> Any:
    """diffusers' model of the same architecture, written without our own conversion."""

    def scales(types: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple((5,) if t == "S" else () for t in types)

    def names(types: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("ResBlock" if t == "R" else "EfficientViTBlock" for t in types)

    encoder, decoder = config.encoder, config.decoder
    norm_names = {"bn2d": "batch_norm", "trms2d": "rms_norm"}
    return diffusers.AutoencoderDC(
        latent_channels=config.latent_channels,
        encoder_block_types=names(encoder.block_types),
        decoder_block_types=names(decoder.block_types),
        encoder_block_out_channels=encoder.widths,
        decoder_block_out_channels=decoder.widths,
        encoder_layers_per_block=encoder.depths,
        decoder_layers_per_block=decoder.depths,
        encoder_qkv_multiscales=scales(encoder.block_types),
        decoder_qkv_multiscales=scales(decoder.block_types),
        upsample_block_type=(
            "pixel_shuffle" if decoder.upsample == "ConvPixelShuffle" else "interpolate"
        ),
        downsample_block_type=(
            "pixel_unshuffle" if encoder.downsample == "ConvPixelUnshuffle" else "conv"
        ),
        decoder_norm_types=tuple(norm_names[x] for x in decoder.norms),
        decoder_act_fns=decoder.acts,
        decoder_conv_act_fn=decoder.out_act,
    ).eval()


@pytest.mark.parametrize(("name", "latent_channels"), PEERS)
@torch.no_grad()
def test_equals_diffusers_on_the_same_weights(name: str, latent_channels: int) -> None:
    config = scaled_down(name, latent_channels)
    ours = DCAE(config)
    randomize(ours)
    ours.eval()
    theirs = peer(config)
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


# GMACs and millions of parameters measured on the published architecture at 512 x 512.
MEASURED = {
    "teacher": ((0, 5, 10, 2, 2, 2), 1384.7, 200.18),
    "w3-v2": ((0, 5, 10, 1, 1, 2), 1349.9, 179.07),
    "w4-v1": ((0, 3, 5, 2, 2, 2), 843.6, 174.22),
    "w4-v2": ((0, 3, 5, 1, 1, 2), 808.8, 153.11),
    "w4-v3": ((0, 1, 2, 1, 1, 2), 422.2, 136.59),
}


@pytest.mark.parametrize("name", MEASURED)
def test_full_size_counts(name: str) -> None:
    depths, decoder_gmacs, decoder_mparams = MEASURED[name]
    config = zoo_config("dc-ae-f32c32-in-1.0").with_decoder_depths(depths, name)
    costs = static_costs(config, 512)
    assert costs["encoder_macs"] / 1e9 == pytest.approx(1042.7, abs=0.1)
    assert costs["decoder_macs"] / 1e9 == pytest.approx(decoder_gmacs, abs=0.1)
    assert costs["encoder_params"] / 1e6 == pytest.approx(123.17, abs=0.01)
    assert costs["decoder_params"] / 1e6 == pytest.approx(decoder_mparams, abs=0.01)


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
    image, features = tiny_model.decode(latent, (0, 1, 2, 3, "stage1", "stage3"))
    norm, act, conv = tiny_model.decoder.project_out.op_list
    assert torch.equal(image, tiny_model.decode(latent))
    assert torch.equal(features[0], image)
    assert torch.equal(features[1], features["stage1"])
    assert torch.equal(features[2], norm(features[1]))
    assert torch.equal(features[3], act(features[2]))
    assert torch.equal(features[0], conv(features[3]))
    assert features["stage3"].shape == (2, 32, 3, 5)
    assert not any(module._forward_hooks for module in tiny_model.modules())


def test_unknown_tap_is_refused(tiny_model: DCAE) -> None:
    with pytest.raises(ValueError, match="found 7, expected one of"):
        tiny_model.decode(torch.zeros(1, 4, 2, 2), (7,))


def test_unknown_name_lists_the_zoo() -> None:
    with pytest.raises(KeyError, match=r"dc-ae-f32c32-in-1\.0"):
        zoo_config("dc-ae-f31")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depths", (0, 3, 2), "depths: found 3 entries, expected 4"),
        ("depths", (0, 3, 0, 2), "expected at least 1 at every stage but the first"),
        ("widths", (4, 8, 16, 40), "stage 3 has 40, expected a multiple of 32"),
        ("widths", (4, 6, 16, 32), "4 \\* 6 to be a multiple of 16"),
        ("inner_widths", (4, 8, 16), "inner_widths: found 3 entries, expected 4"),
        ("inner_widths", (4, 8, 0, 128), "expected at least 1 in each stage"),
    ],
)
def test_impossible_stages_are_refused(field: str, value: tuple[int, ...], message: str) -> None:
    decoder = tiny_config().decoder.model_dump()
    with pytest.raises(ValueError, match=message):
        DecoderConfig(**{**decoder, field: value})


def test_autocast_stays_close_to_fp32(tiny_model: DCAE) -> None:
    latent = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        exact = tiny_model.decode(latent)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny_model.decode(latent)
    assert relative_error(rough.float(), exact) < 0.05
