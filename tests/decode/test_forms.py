"""Every form in which a decoder leaves this house, against the plain decoder in fp32.

Attention divides by sums of keys that are all 0 on flat and dark pictures: a guard that an exporter
or half precision loses gives NaN there, and nowhere on random latents.
"""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import skimage
import torch
import torch.nn.functional as F
from torch import Tensor

import dcde
from dcde.commands.onnx import export_onnx
from dcde.data.pixels import to_model_range
from dcde.decode.optimize import decode_tiled
from dcde.model import DCAE
from dcde.model.blocks import LiteMLA
from dcde.model.checkpoint import read_model, save_model
from tests.helpers.peers import relative_error, scaled_down
from tests.helpers.tiny import ROOT, model_of, random_model, tiny_config

Decode = Callable[[Tensor], Tensor]
ERRORS = {torch.float32: 1e-5, torch.float16: 0.004, torch.bfloat16: 0.03}
"""Largest difference from fp32, relative, by the form's precision."""
SCALES = {torch.float32: 1000, torch.float16: 10, torch.bfloat16: 1000}
"""Latents up to this many times as large as a picture's. Beyond it, features leave fp16's range, as
in diffusers' own decoder."""


def silence(model: DCAE) -> DCAE:
    """Zero the keys of one attention head: a denominator of 0 at all positions."""
    for attention in model.decoder.modules():
        if isinstance(attention, LiteMLA):
            attention.qkv.conv.weight.data[32:64] = 0
    return model


MODELS: dict[str, Callable[[], DCAE]] = {
    "bundled": partial(read_model, ROOT / "dcde/assets/dc-ae-f16c16-photos"),
    "bundled Sana": partial(read_model, ROOT / "dcde/assets/dc-ae-f16c32-sana-photos"),
    "sana": lambda: silence(random_model(scaled_down("dc-ae-f32c32-sana-1.0", 32))),
    "all blocks": lambda: silence(model_of("RES")),
}


def latents(model: DCAE, largest: float) -> Iterator[tuple[str, Tensor]]:
    """Latents of photos, flat and noisy pictures, and some that no picture has."""
    f = model.config.downsampling
    for name in ("astronaut", "camera", "text"):
        pixels = torch.from_numpy(getattr(skimage.data, name)())
        pixels = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels.expand(3, -1, -1)
        photo = to_model_range(pixels)[None]
        yield name, model.encode(F.interpolate(photo, (4 * f, 5 * f), mode="area"))
    colors = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)[:, :, None, None]
    yield "flat, 1 position", model.encode(colors.repeat(1, 1, f, f))
    yield "flat, batch of 3", model.encode(colors[[0, 4, 26]].repeat(1, 1, 3 * f, 2 * f))
    generator = torch.Generator().manual_seed(0)
    yield "noise", model.encode(torch.rand(1, 3, 3 * f, f, generator=generator) * 2 - 1)
    drawn = torch.randn(3, model.config.latent_channels, 3, 7, generator=generator)
    for scale in (0, 1e-4, 1, largest):
        yield f"drawn, times {scale}", scale * drawn


def in_diffusers(model: DCAE, folder: Path, dtype: torch.dtype) -> Decode:
    diffusers = pytest.importorskip("diffusers")
    save_model(model, folder, "diffusers")
    vae = diffusers.AutoencoderDC.from_pretrained(folder, torch_dtype=dtype)
    return lambda latent: vae.decode(latent.to(dtype)).sample


def in_onnx(model: DCAE, folder: Path, dtype: torch.dtype) -> Decode:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_onnx(model, folder)
    session = onnxruntime.InferenceSession(folder / "decoder.onnx")
    return lambda latent: torch.from_numpy(session.run(None, {"latent": latent.numpy()})[0])


def optimized(model: DCAE, folder: Path, dtype: torch.dtype) -> Decode:
    return dcde.optimize(model, dtype=dtype)


def tiled(model: DCAE, folder: Path, dtype: torch.dtype) -> Decode:
    return partial(decode_tiled, dcde.optimize(model, dtype=dtype), tile_size=64)


def tiled_in_autocast(model: DCAE, folder: Path, dtype: torch.dtype) -> Decode:
    decoder = dcde.optimize(model, tile_size=64)

    def decode(latent: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype):
            return decoder(latent)

    return decode


ALL = (torch.float32, torch.float16, torch.bfloat16)
FORMS = [
    *((in_diffusers, dtype) for dtype in ALL),
    *((optimized, dtype) for dtype in ALL),
    (tiled, torch.float32),
    *((tiled_in_autocast, dtype) for dtype in ALL[1:]),
]


@pytest.mark.parametrize(
    ("name", "form", "dtype"),
    [
        *((name, form, dtype) for name in MODELS for form, dtype in FORMS),
        # tests/commands/test_export.py compares other blocks
        pytest.param("bundled", in_onnx, torch.float32, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_decodes_as_the_plain_decoder(
    name: str,
    form: Callable[[DCAE, Path, torch.dtype], Decode],
    dtype: torch.dtype,
    tmp_path: Path,
) -> None:
    model = MODELS[name]()
    decode = form(model, tmp_path / "model", dtype)
    for kind, latent in latents(model, SCALES[dtype]):
        expected, found = model.decode(latent), decode(latent).float()
        assert expected.isfinite().all(), kind
        assert relative_error(found, expected) < ERRORS[dtype], kind


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("dtype", ERRORS)
@torch.no_grad()
def test_compiled_decodes_as_the_plain_decoder(dtype: torch.dtype) -> None:
    model = silence(random_model(tiny_config((0, 1, 1, 1))))
    decoder = dcde.optimize(model, dtype=dtype, compile=True)
    kinds = dict(latents(model, 1))
    for kind in ("astronaut", "text"):  # of one size, as each is compiled
        expected, found = model.decode(kinds[kind]), decoder(kinds[kind]).float()
        assert relative_error(found, expected) < ERRORS[dtype], kind
