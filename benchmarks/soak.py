"""Does bad input end in one line? Inputs made bad from good ones, by a seed.

    python -m benchmarks.soak --cases 200

Each case is a params.yaml, a model, a photo or a file of statistics in which something at random
was replaced, cut or damaged. It must end in an error of one line, or in the right result: never in
a traceback, nor in a file that was not there before. What does not is listed, and fails the
command.
"""

from __future__ import annotations

import copy
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from dcde.base.errors import UserError
from dcde.params.pipeline import Params
from dcde.params.file import load_params
from dcde.base.paths import PARAMS
from dcde.commands.check import checked
from dcde.data.crops import eval_crops, load_crop
from dcde.data.folder import check_images, list_images
from dcde.metrics.frechet import Statistics
from dcde.model import DCAE, DCAEConfig, DecoderConfig, EncoderConfig
from dcde.model.checkpoint import read_model, save_model
from dcde.model.weights import CONFIG, DIFFUSERS_WEIGHTS, WEIGHTS
from dcde.report.tables import markdown_table

VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 1000, 10**12, 0.5, -0.5, 1e-30, 1e30),
    *(float("nan"), float("inf"), "", "text", "none/such", [], [0], [1, 2], [[1]], {}, {"a": 1}),
]
SHAPE = (3, 32, 32)

Case = Callable[[random.Random, Path], None]
"""Makes a bad input in an empty folder and uses it: raises UserError, or asserts the result."""


def main(
    cases: Annotated[int, typer.Option(help="How many bad inputs.")] = 200,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    ends, faults = soak(cases, seed)
    rows = [[kind, str(count["refused"]), str(count["right"])] for kind, count in ends.items()]
    print(markdown_table([["input", "refused in one line", "right result"], *rows]))
    for fault in faults:
        print(fault)
    raise SystemExit(bool(faults))


def soak(cases: int, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """How often each kind of input ended in which way, and what ended in neither."""
    kinds: dict[str, Case] = {
        "parameters": parameters,
        "model": model,
        "photo": photo,
        "statistics": statistics,
    }
    ends: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    faults: list[str] = []
    for number in range(cases):
        kind = list(kinds)[number % len(kinds)]
        rng = random.Random(f"{seed} {number}")
        with tempfile.TemporaryDirectory() as name:
            try:
                kinds[kind](rng, Path(name))
                ends[kind]["right"] += 1
            except UserError as error:
                ends[kind]["refused"] += 1
                if not str(error).strip() or "Traceback" in str(error):
                    faults.append(f"{kind} {number}: says nothing: {error!r}")
            except Exception as error:  # what a user would see as a traceback
                faults.append(f"{kind} {number}: {type(error).__name__}: {str(error)[:200]}")
    return ends, faults


def parameters(rng: random.Random, folder: Path) -> None:
    """params.yaml with one or two leaves replaced or gone, or its text damaged."""
    raw = yaml.safe_load(PARAMS.read_text())
    for _ in range(rng.randint(1, 2)):
        replace_leaf(rng, raw)
    text = yaml.safe_dump(raw)
    if rng.random() < 0.2:
        text = damaged(rng, text.encode()).decode(errors="replace")
    (folder / "params.yaml").write_text(text)
    assert all(line for _, line in checked(load_params(folder / "params.yaml", Params)))


def model(rng: random.Random, folder: Path) -> None:
    """A model whose config.json, header or tensors are damaged; what loads is what is there."""
    diffusers = rng.random() < 0.5
    save_model(small_model(), folder / "model", "diffusers" if diffusers else "safetensors")
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
    assert torch.equal(stored, found), "other weights than the file's"


def photo(rng: random.Random, folder: Path) -> None:
    """A picture of some format and size that is damaged; what is read has its crop's shape."""
    suffix = rng.choice([".png", ".jpg", ".webp", ".bmp"])
    size = rng.choice([(40, 40), (1, 1), (33, 90), (2000, 40), (7, 300)])
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (*size[::-1], 3))
    mode = rng.choice(["RGB", "L", "CMYK"]) if suffix == ".jpg" else "RGB"
    path = folder / f"photo{suffix}"
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(path)
    if rng.random() < 0.7:
        path.write_bytes(damaged(rng, path.read_bytes()))
    for found in check_images(list_images(folder), rng.choice(["skip", "refuse"])):
        for crop in eval_crops(found, SHAPE[1], 5):
            assert load_crop(crop).shape == SHAPE
    assert [file.name for file in folder.iterdir()] == [path.name]


def statistics(rng: random.Random, folder: Path) -> None:
    """An npz for FID of other shapes, names or bytes; what is read is what is there."""
    mean, covariance = np.ones(4), np.eye(4)
    arrays = {"mu": mean, "sigma": covariance, "resolution": np.array(256)}
    if rng.random() < 0.5:
        other = rng.choice([np.ones(3), np.full((4, 4), np.nan), np.array("text"), np.zeros(0)])
        arrays[rng.choice(list(arrays))] = other
    if rng.random() < 0.3:
        del arrays[rng.choice(list(arrays))]
    path = folder / "stats.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    if rng.random() < 0.5:
        path.write_bytes(damaged(rng, path.read_bytes()))
    found = Statistics.load(path, features=4, resolution=256)
    assert np.array_equal(found.mean, mean) and np.array_equal(found.covariance, covariance)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Cut, lengthened, overwritten at random places, or emptied."""
    how = rng.choice(["cut", "longer", "overwritten", "overwritten", "empty"])
    if how == "cut":
        return content[: rng.randrange(len(content))]
    if how == "longer":
        return content + rng.randbytes(rng.randint(1, 50))
    if how == "empty":
        return b""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 20)):
        end = min(len(changed), rng.choice([64, 1024, 10**9]))  # often where formats have headers
        changed[rng.randrange(end)] = rng.randrange(256)
    return bytes(changed)


def leaves(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a tree of dictionaries and lists its values are."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in children:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*place, key))
        yield (*place, key)


def replace_leaf(rng: random.Random, tree: Any) -> None:
    """Put another value in some place, or none, or under another name."""
    *path, last = rng.choice(list(leaves(tree)))
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
    """Another shape, type or value of some tensor, or none, or one too many."""
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


def small_model() -> DCAE:
    torch.manual_seed(0)
    stages: dict[str, Any] = {
        "block_types": ("R",) * 4,
        "widths": (4, 8, 8, 16),
        "depths": (0, 1, 1, 1),
    }
    decoder = DecoderConfig(**stages, norms=("bn2d",) * 4, acts=("relu",) * 4)
    return DCAE(
        DCAEConfig(
            name="small", latent_channels=4, encoder=EncoderConfig(**stages), decoder=decoder
        )
    )


if __name__ == "__main__":
    typer.run(main)
