"""Inputs damaged at random end in an error of one line, or in the right result.

Run this after a change in how something is read. Never may there be a traceback, or a file that was
not there before.
"""

import copy
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from dcde.base.errors import one_line_errors
from dcde.commands.check import checked
from dcde.data.check import check_images
from dcde.data.crops import eval_crops, load_crop
from dcde.data.folder import list_images
from dcde.model.checkpoint import read_model, save_model
from dcde.model.weights import CONFIG, DIFFUSERS_WEIGHTS, WEIGHTS
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from tests.helpers.profiles import DISPLAY_P3
from tests.helpers.tiny import ROOT, random_model, tiny_config

CASES = 70
"""Inputs of each kind."""
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 1000, 10**12, 0.5, -0.5, 1e-30, 1e30),
    *(float("nan"), float("inf"), "", "text", "none/such", [], [0], [1, 2], [[1]], {}, {"a": 1}),
]
SHAPE = (3, 32, 32)


def parameters(rng: random.Random, folder: Path) -> None:
    """Replace or remove one or two values of params.yaml, or damage its text."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for _ in range(rng.randint(1, 2)):
        replace_leaf(rng, raw)
    text = yaml.safe_dump(raw)
    if rng.random() < 0.2:
        text = damaged(rng, text.encode()).decode(errors="replace")
    (folder / "params.yaml").write_text(text)
    assert all(line for _, line in checked(load_params(folder / "params.yaml", Params)))


def model(rng: random.Random, folder: Path) -> None:
    """Damage a model's config.json, header or tensors."""
    diffusers = rng.random() < 0.5
    small = random_model(tiny_config())
    save_model(small, folder / "model", "diffusers" if diffusers else "safetensors")
    weights = folder / "model" / (DIFFUSERS_WEIGHTS if diffusers else WEIGHTS)
    config = folder / "model" / CONFIG
    what = rng.choice(["config", "config text", "bytes", "tensor", "tensor", "gone"])
    if what == "config":
        raw = json.loads(config.read_text())
        replace_leaf(rng, raw)
        config.write_text(json.dumps(raw))
    elif what == "config text":
        config.write_bytes(damaged(rng, config.read_bytes()))
    elif what == "bytes":
        weights.write_bytes(damaged(rng, weights.read_bytes()))
    elif what == "tensor":
        state = load_file(weights)
        replace_tensor(rng, state)
        save_file(state, weights)
    else:
        rng.choice([weights, config]).unlink()
    read = read_model(folder / "model")
    stored, found = (
        torch.cat([tensor.double().flatten() for tensor in state.values()]).sort().values
        for state in (load_file(weights), read.state_dict())
    )
    assert torch.equal(stored, found)


def photo(rng: random.Random, folder: Path) -> None:
    """Damage a picture of some format and size, or its profile."""
    suffix = rng.choice([".png", ".jpg", ".webp", ".bmp"])
    size = rng.choice([(40, 40), (1, 1), (33, 90), (2000, 40), (7, 300)])
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (*size[::-1], 3))
    mode = rng.choice(["RGB", "L", "CMYK"]) if suffix == ".jpg" else "RGB"
    path, profile = folder / f"photo{suffix}", rng.choice([DISPLAY_P3, damaged(rng, DISPLAY_P3)])
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(path, icc_profile=profile)
    if rng.random() < 0.7:
        path.write_bytes(damaged(rng, path.read_bytes()))
    for found in check_images(list_images(folder)):
        for crop in eval_crops(found, SHAPE[1], 5):
            assert load_crop(crop).shape == SHAPE
    assert [file.name for file in folder.iterdir()] == [path.name]


def damaged(rng: random.Random, content: bytes) -> bytes:
    how = rng.choice(["cut", "longer", "overwritten", "overwritten", "empty"])
    if how == "cut":
        return content[: rng.randrange(len(content))]
    if how == "longer":
        return content + rng.randbytes(rng.randint(1, 50))
    if how == "empty":
        return b""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 20)):
        end = min(len(changed), rng.choice([64, 1024, 10**9]))  # formats have headers at the front
        changed[rng.randrange(end)] = rng.randrange(256)
    return bytes(changed)


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value in a tree of dictionaries and lists."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list) and value:
            yield from places(value, (*place, key))
        yield (*place, key)


def replace_leaf(rng: random.Random, tree: Any) -> None:
    """Replace, remove or rename one value."""
    *path, last = rng.choice(list(places(tree)))
    for key in path:
        tree = tree[key]
    how = rng.random()
    if how < 0.8:
        tree[last] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(tree, dict):
        value = tree.pop(last)
        if how < 0.9:
            tree[f"{last}_"] = value


def replace_tensor(rng: random.Random, state: dict[str, torch.Tensor]) -> None:
    """Change a tensor's shape, type or values, or add another."""
    name = rng.choice(sorted(state))
    tensor = state[name]
    state[rng.choice([name, name, name, "another"])] = rng.choice(
        [
            tensor.half(),
            tensor.to(torch.int8),
            tensor.double() * float("nan"),
            tensor.float() + float("inf"),
            tensor.flatten()[:1].clone(),
            torch.zeros(0),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [parameters, model, photo])
def test_bad_input_ends_in_one_line_or_in_the_right_result(
    kind: Callable[[random.Random, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    ends, faults = Counter[str](), []
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = io.StringIO()
        try:
            with redirect_stderr(said), one_line_errors():
                kind(random.Random(f"{kind.__name__} {number}"), folder)
            ends["right"] += 1
        except SystemExit:
            ends["refused"] += 1
            error = said.getvalue().rpartition("error: ")[2]  # after a bar of progress
            if len(error.splitlines()) != 1:
                faults.append(f"{number}: {error}")
        except Exception as error:
            faults.append(f"{number}: {error!r}")
    assert faults == [] and ends["refused"] and ends["right"]
