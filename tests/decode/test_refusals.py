"""What can't be optimized or decoded is refused in one line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook

import dcde
from dcde.decode.optimize import decode_tiled, optimize
from dcde.model import DCAE
from dcde.model.diffusers_peer import diffusers_model
from tests.helpers.peers import relative_error
from tests.helpers.tiny import tiny_config


def test_saving_and_offloading_its_weights_is_refused(tiny_model: DCAE, tmp_path: Path) -> None:
    vae = diffusers_model(tiny_model)
    vae.decoder = dcde.optimize(vae)
    with pytest.raises(ValueError, match="whose weights can't be saved, nor moved"):
        vae.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    with pytest.raises(ValueError, match="offload it with enable_model_cpu_offload"):
        cpu_offload(vae)


def layerwise_casting(vae: Any) -> None:
    vae.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=torch.float32)


@pytest.mark.parametrize("hook", [cpu_offload, layerwise_casting])
def test_weights_that_hooks_hold_are_refused(
    hook: Callable[[Any], object], tiny_model: DCAE
) -> None:
    vae = diffusers_model(tiny_model)
    hook(vae)
    with pytest.raises(ValueError, match=r"offloaded or cast by hooks .*: call dcde\.optimize"):
        dcde.optimize(vae)


def test_offloading_the_whole_model_is_no_obstacle(tiny_model: DCAE) -> None:
    """As pipe.enable_model_cpu_offload does, whose hook moves what the model holds by then."""
    vae, latent = diffusers_model(tiny_model), torch.randn(1, 4, 2, 2)
    cpu_offload_with_hook(vae, torch.device("cpu"))
    vae.decoder = dcde.optimize(vae)
    with torch.no_grad():
        assert relative_error(vae.decode(latent).sample, tiny_model.decode(latent)) < 1e-5


def test_weights_cast_afterwards_are_refused(tiny_model: DCAE) -> None:
    vae = diffusers_model(tiny_model)
    vae.decoder = dcde.optimize(vae)
    layerwise_casting(vae)
    with pytest.raises(ValueError, match=r"float8_e4m3fn.* leave out enable_layerwise_casting"):
        vae.decode(torch.randn(1, 4, 2, 2))


@pytest.mark.parametrize("tile_size", [0, -8, 1.5, "8"])
def test_impossible_tiles_are_refused(tile_size: Any, tiny_model: DCAE) -> None:
    decoder, message = optimize(tiny_model), rf"tile_size: found {tile_size}, expected a whole"
    with pytest.raises(ValueError, match=message):
        decode_tiled(decoder, torch.randn(1, 4, 2, 2), tile_size=tile_size)
    with pytest.raises(ValueError, match=message):
        optimize(tiny_model, tile_size=tile_size)


@pytest.mark.parametrize("shape", [(0, 4, 2, 2), (1, 4, 0, 2), (1, 3, 2, 2), (4, 2, 2)])
def test_impossible_latents_are_refused(shape: tuple[int, ...], tiny_model: DCAE) -> None:
    decoder = optimize(tiny_model)
    for decode in (decoder, partial(decode_tiled, decoder)):
        with pytest.raises(ValueError, match=r"latent: found shape .*, expected \(B, 4, h, w\)"):
            decode(torch.randn(shape))


def test_what_it_cannot_do_is_refused(tiny_model: DCAE) -> None:
    odd, optimized = diffusers_model(tiny_model), diffusers_model(tiny_model)
    odd.register_to_config(decoder_in_shortcut=False)
    optimized.decoder = dcde.optimize(optimized)
    for model, options, message in (
        (odd, {}, "decoder_in_shortcut: found False"),
        (optimized, {}, "its decoder is optimized already"),
        ("models/student", {}, "model: found str, expected a DCAE or diffusers'"),
        (SimpleNamespace(vae=odd, config={}), {}, r"a whole pipeline, .* pipe\.vae"),
        (tiny_model, {"dtype": torch.float64}, "dtype: found torch.float64, expected"),
        (tiny_model, {"compile": True, "tile_size": 32}, "compile and tile_size: found both"),
        (DCAE(tiny_config()).train(), {}, "training mode"),
    ):
        with pytest.raises(ValueError, match=message):
            dcde.optimize(model, **options)
