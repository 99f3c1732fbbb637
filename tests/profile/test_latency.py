"""Timing and memory."""

import time

import pytest
import torch

from dcde.model import DCAE
from dcde.profile.latency import decode_costs, decoders, example_latent, peak_memory_mib

CPU = torch.device("cpu")


def test_costs_of_each_way_at_a_batch(tiny_model: DCAE) -> None:
    latent = example_latent(tiny_model.config, 64, batch=2, seed=0)
    assert latent.shape == (2, 4, 8, 8)
    assert torch.equal(latent, example_latent(tiny_model.config, 64, batch=2, seed=0))
    ways = decoders({"teacher": tiny_model}, torch.float32, CPU)
    assert set(ways) == {("teacher", way) for way in ("plain", "optimized", "diffusers")}
    images = [decode(latent) for decode in ways.values()]
    assert all(torch.allclose(image, images[0], atol=1e-4) for image in images)
    for costs in decode_costs(ways, latent, warmup_runs=1, runs=5).values():
        assert 0 < costs["latency_p10_ms"] <= costs["latency_ms"] <= costs["latency_p90_ms"]  # type: ignore[operator]
        assert costs["images_per_s"] == pytest.approx(2000 / costs["latency_ms"])  # type: ignore[operator]


def test_precision_is_that_of_every_way(tiny_model: DCAE) -> None:
    ways = decoders({"teacher": tiny_model}, torch.bfloat16, CPU)
    latent = example_latent(tiny_model.config, 64, batch=1, seed=0).bfloat16()
    assert {decode(latent).dtype for decode in ways.values()} == {torch.bfloat16}
    assert {p.dtype for p in tiny_model.parameters()} == {torch.float32}


def test_turns_alternate_and_quantiles_are_right() -> None:
    order: list[str] = []

    def sleeper(name: str, seconds: float):
        def decode(latent: torch.Tensor) -> torch.Tensor:
            order.append(name)
            time.sleep(seconds)
            return latent

        return decode

    costs = decode_costs(
        {"a": sleeper("a", 0.002), "b": sleeper("b", 0.02)},
        torch.zeros(4, 1),
        warmup_runs=1,
        runs=3,
    )
    assert order[:8] == ["a", "b"] * 4  # then once each for memory
    assert 2 <= costs["a"]["latency_ms"] < 15 < 20 <= costs["b"]["latency_ms"]  # type: ignore[operator]


def test_peak_memory_is_that_of_the_call() -> None:
    """Freed memory that the process still holds does not hide it."""
    size = 64 * 2**20 // 4

    def run() -> None:
        torch.zeros(size).add_(1)

    run()
    found = peak_memory_mib(run, CPU)
    if found is None:
        pytest.skip("memory is measured on Linux")
    assert found == pytest.approx(64, rel=0.1)
    small = [torch.ones(2**16) for _ in range(256)]  # 64 MiB in pieces that the allocator keeps
    del small
    found = peak_memory_mib(lambda: [torch.ones(2**16) for _ in range(256)], CPU)
    assert found == pytest.approx(64, rel=0.1)
