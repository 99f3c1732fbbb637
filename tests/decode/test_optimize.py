"""The optimized decoder against the plain one and against diffusers', whole and in tiles."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import dcde
from dcde.decode.fused import FusedAttention, FusedUpsample, Pointwise
from dcde.decode.optimize import decode_tiled, optimize
from dcde.model import DCAE, zoo_config
from dcde.model.blocks import InterpolateConv, LiteMLA
from dcde.model.checkpoint import read_model
from dcde.model.costs import count_macs
from dcde.model.diffusers_peer import diffusers_model
from dcde.profile.latency import example_latent, peak_memory_mib
from tests.helpers.peers import PEERS, peer, relative_error, scaled_down
from tests.helpers.tiny import ROOT, compiled, random_model, randomize, tiny_config

BUNDLED = ROOT / "dcde/assets/dc-ae-f16c16-photos"
MODELS: dict[str, Callable[[], DCAE]] = {
    **{name: partial(random_model, scaled_down(name, channels)) for name, channels in PEERS},
    "bundled": partial(read_model, BUNDLED),
    "stage 0": partial(random_model, tiny_config((1, 1, 2, 1))),
}


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_equals_the_plain_decoder(name: str) -> None:
    """At small and large maps, a batch, odd sizes; and in tiles."""
    model = MODELS[name]()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    decoder = optimize(model)
    for batch, height, width in ((1, 2, 2), (2, 3, 5), (1, 7, 9)):
        latent = torch.randn(batch, model.config.latent_channels, height, width)
        expected = model.decode(latent)
        assert relative_error(decoder(latent), expected) < 1e-5
        for tile_size in (32, 100, 128):  # smaller than the margins, and some that don't fit
            tiled = decode_tiled(decoder, latent, tile_size=tile_size)
            assert relative_error(tiled, expected) < 1e-5
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "latent_channels"), PEERS)
@torch.no_grad()
def test_diffusers_own_model_decodes_with_it(name: str, latent_channels: int) -> None:
    """All of the published architectures, also with diffusers' tiles."""
    vae = peer(scaled_down(name, latent_channels))
    randomize(vae)
    f = vae.spatial_compression_ratio
    latent = torch.randn(2, latent_channels, 3, 5)
    plain = vae.decode(latent).sample
    vae.enable_tiling(2 * f, 2 * f, f, f)
    tiled = vae.decode(latent).sample
    vae.decoder = dcde.optimize(vae)
    assert relative_error(vae.decode(latent).sample, tiled) < 1e-5
    vae.use_tiling = False
    assert relative_error(vae.decode(latent).sample, plain) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_no_further_from_fp32_than_the_plain_decoder(dtype: torch.dtype) -> None:
    model = read_model(BUNDLED)
    vae = diffusers_model(model).to(dtype)
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    exact, plain = model.decode(latent), vae.decode(latent.to(dtype)).sample
    moved = optimize(model).to(dtype)  # as pipe.to(dtype) does
    for decoder in (optimize(model, dtype=dtype), optimize(vae), moved):
        ours = decoder(latent)
        assert ours.dtype == dtype
        assert relative_error(ours.float(), exact) < 2 * relative_error(plain.float(), exact)
        tiled = decode_tiled(decoder, latent, tile_size=32)
        assert relative_error(tiled.float(), ours.float()) < 0.01


@torch.no_grad()
def test_sums_of_large_keys_do_not_overflow_fp16() -> None:
    """Of keys up to 200 times as large, at the largest map that attends in 2048 px of Sana's."""
    model = random_model(scaled_down("dc-ae-f32c32-sana-1.0", 32))
    attention = [m for m in model.decoder.stages[3].modules() if isinstance(m, LiteMLA)][-1]
    attention.qkv.conv.weight.data.unflatten(0, (-1, 3, 32))[:, 1] *= 200
    x = torch.randn(1, attention.qkv.conv.in_channels, 256, 256)
    exact = x + attention(x)
    decoder = optimize(model, dtype=torch.float16)
    fused = [op for op in decoder.steps if isinstance(op, FusedAttention)][-1]
    keys = fused.heads(x.half())[..., 1, :]
    assert keys.sum(dim=(1, 2), dtype=torch.float32).max() > torch.finfo(torch.float16).max
    assert relative_error(fused(x.half()).float(), exact) < 0.002


@torch.no_grad()
def test_only_large_latents_are_decoded_in_tiles(tiny_model: DCAE) -> None:
    decoder = optimize(tiny_model, tile_size=32)
    sides: list[int] = []
    decoder.steps[-1].register_forward_hook(lambda op, x, y: sides.append(max(y.shape[2:])))
    for latent in (torch.randn(1, 4, 4, 4), torch.randn(1, 4, 5, 9)):
        assert relative_error(decoder(latent), tiny_model.decode(latent)) < 1e-5
    assert sides[0] == 32 and len(sides) > 6 and max(sides[1:]) < 72  # with their margins


@pytest.mark.slow
@torch.no_grad()
def test_2048_px_in_bounded_memory() -> None:
    """A tile's maps beside the image and the coarse maps: less than half of the whole."""
    model = read_model(BUNDLED)
    decoder = optimize(model)
    latent = example_latent(model.config, 2048, batch=1, seed=0)
    images = {}

    def keep(name: str, decode: Callable[[Tensor], Tensor]) -> None:
        images[name] = decode(latent)

    tiled = partial(decode_tiled, decoder, tile_size=256)
    tiled(latent[:, :, :8, :8])  # sets up what the first call needs
    whole_mib = peak_memory_mib(lambda: keep("whole", decoder), latent.device)
    tiled_mib = peak_memory_mib(lambda: keep("tiled", tiled), latent.device)
    assert (images["tiled"] - images["whole"]).abs().max() < 2 / 255 / 100  # no seams, at any pixel
    if whole_mib is None or tiled_mib is None:
        pytest.skip("memory is measured on Linux")
    # About 140 of 580 MiB; up to 210 of 630 in a process that has run hundreds of tests.
    assert tiled_mib < min(270, whole_mib / 2)


@torch.no_grad()
def test_pointwise_is_the_convolution_on_every_device(tiny_model: DCAE) -> None:
    """By oneDNN on a CPU; elsewhere, as on the meta device, by a matrix product."""
    conv = nn.Conv2d(12, 20, 1)
    x = torch.randn(2, 12, 5, 7)
    pointwise = Pointwise(conv)

    class WithoutDevice(Tensor):
        is_cpu = False

    for kind in (Tensor, WithoutDevice):
        ours = pointwise(x.permute(0, 2, 3, 1).as_subclass(kind)).permute(0, 3, 1, 2)
        assert relative_error(ours.as_subclass(Tensor), conv(x)) < 1e-6
    latent = torch.empty(1, 4, 3, 5, device="meta")
    assert optimize(tiny_model.to("meta"))(latent).shape == (1, 3, 24, 40)


@pytest.mark.parametrize("part", ["", "decoder", "decoder.stages.1"])
@torch.no_grad()
def test_compiled_models_are_optimized_as_plain_ones(part: str, tiny_model: DCAE) -> None:
    latent = torch.randn(1, 4, 2, 2)
    expected, vae = tiny_model.decode(latent), diffusers_model(tiny_model)
    theirs = compiled(vae, part.replace("stages", "up_blocks"))
    for model in (compiled(tiny_model, part), theirs):
        assert relative_error(dcde.optimize(model)(latent), expected) < 1e-5
    # Wrapping starts no compiler, which decoding would.
    optimized = torch.compile(dcde.optimize(theirs))
    assert relative_error(decode_tiled(optimized, latent, tile_size=8), expected) < 1e-5


@pytest.fixture
def thin_teacher() -> DCAE:
    """dc-ae-f32c32's blocks and depths, 32 channels wide."""
    full = zoo_config("dc-ae-f32c32-in-1.0")
    thin = {"widths": (32,) * 6}
    sides = {side: getattr(full, side).model_copy(update=thin) for side in ("encoder", "decoder")}
    return random_model(full.model_copy(update=sides))


def test_no_more_macs_than_the_plain_decoder(thin_teacher: DCAE) -> None:
    latent = torch.randn(1, 32, 8, 8)
    ours, plain = (count_macs(m, latent) for m in (optimize(thin_teacher), thin_teacher.decoder))
    assert 0.999 * plain < ours <= plain


@torch.no_grad()
def test_upsampling_by_nearest_interpolation_takes_four_ninths_of_the_macs() -> None:
    x, plain = torch.randn(1, 8, 31, 31), InterpolateConv(8, 4)
    ours = FusedUpsample(plain, None)
    assert relative_error(ours(x), plain(x)) < 1e-6
    # One row and column of positions more than the map has.
    assert count_macs(ours, x) / count_macs(plain, x) == pytest.approx(4 / 9 * (32 / 31) ** 2)
