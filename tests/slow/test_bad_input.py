"""Inputs damaged at random end in an error of one line, or in the right result.

Run this after a change in how something is read. Never may there be a traceback, or a file that was
not there before.
"""

from __future__ import annotations

import copy
import io
import json
import os
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
from PIL import Image, ImageCms
from safetensors.torch import load_file, save_file

from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import check_new
from dcde.commands.check import checked
from dcde.data.check import check_images, check_unchanged, save_record
from dcde.data.crops import eval_crops, load_crop
from dcde.data.folder import list_images
from dcde.data.pixels import read_rgb
from dcde.data.prepare import split_photos
from dcde.metrics.frechet import Statistics
from dcde.model import DCAE
from dcde.model.checkpoint import read_model, save_model
from dcde.model.weights import CONFIG, DIFFUSERS_WEIGHTS, WEIGHTS
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from tests.helpers.profiles import DISPLAY_P3, LINEAR_GRAY
from tests.helpers.tiny import ROOT, randomize, tiny_config
from tests.helpers.users import another_user, open_to_others

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
    small = randomize(DCAE(tiny_config()))
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
    """Damage a picture of some format and size."""
    suffix = rng.choice([".png", ".jpg", ".webp", ".bmp"])
    size = rng.choice([(40, 40), (1, 1), (33, 90), (2000, 40), (7, 300)])
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (*size[::-1], 3))
    mode = rng.choice(["RGB", "L", "CMYK"]) if suffix == ".jpg" else "RGB"
    path = folder / f"photo{suffix}"
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(path)
    if rng.random() < 0.7:
        path.write_bytes(damaged(rng, path.read_bytes()))
    for found in check_images(list_images(folder)):
        for crop in eval_crops(found, SHAPE[1], 5):
            assert load_crop(crop).shape == SHAPE
    assert [file.name for file in folder.iterdir()] == [path.name]


def statistics(rng: random.Random, folder: Path) -> None:
    """Change shapes, names or bytes of the npz that FID compares with."""
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


def names(rng: random.Random, folder: Path) -> None:
    """Lay a data set out as others do, perhaps behind a link that is moved afterwards."""
    layouts = ["train val", "Train VALID test", "training dev", "train test", "cats dogs", "test"]
    below = [*rng.choice(layouts).split(), *rng.choice(["", "", "labels", ".hidden"]).split()]
    suffixes = [".jpg", ".JPEG", ".jpe", ".jfif", ".jpg_large", ".tif", ".heic", ""]
    data = folder / "v1"
    for part in below:
        (data / part).mkdir(parents=True)
        for number in range(4):
            path = data / part / f"{number}{rng.choice(suffixes)}"
            Image.new("RGB", (40, 40), (number, 0, 0)).save(path, "JPEG")
    source = rng.choice([data, folder / "current"])
    (folder / "current").symlink_to(data)
    record = folder / "record.jsonl"
    train, val = split_photos(source, 0.5, record)
    parts = [{Path(photo.path).parent.name for photo in photos} for photos in (train, val)]
    read = {str(path) for path in list_images(source) if path.parent.name in set.union(*parts)}
    assert {photo.path for photo in (*train, *val)} == read
    if len(below) > 1 and below[0].lower().startswith("train"):
        assert parts == [{below[0]}, {below[1]}]
    assert "test" not in parts[0] and ".hidden" not in parts[0] | parts[1]
    save_record(source, record, folder / "seen.jsonl")
    check_unchanged(folder / "seen.jsonl")
    (folder / "current").unlink()
    (folder / "current").symlink_to(folder)
    if source == data:
        check_unchanged(folder / "seen.jsonl")
    else:
        with pytest.raises(UserError, match="current leads to"):
            check_unchanged(folder / "seen.jsonl")


def color(rng: random.Random, folder: Path) -> None:
    """Give a picture of some mode a profile, whole or damaged, of this mode or another."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = rng.choice([srgb, DISPLAY_P3, LINEAR_GRAY])
    whole = rng.random() < 0.5
    mode = rng.choice(["RGB", "RGBA", "L", "LA", "CMYK", "P", "I;16", "F"])
    suffix = ".tif" if mode in ("CMYK", "F", "LA") else rng.choice([".png", ".tif"])
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (24, 40, 3))
    image = Image.fromarray(values.astype(np.uint8))
    if mode in ("I;16", "F"):
        image = Image.fromarray(values[..., 0].astype(np.uint16 if mode == "I;16" else np.float32))
    image = image if mode in ("I;16", "F") else image.convert(mode)
    path = folder / f"photo{suffix}"
    image.save(path)
    plain = read_rgb(path)
    image.save(path, icc_profile=profile if whole else damaged(rng, profile))
    found = read_rgb(path)
    assert (found.mode, found.size) == ("RGB", image.size)
    if whole and profile == srgb:
        assert np.array_equal(np.array(found), np.array(plain))
    found.save(folder / "written.png")
    with Image.open(folder / "written.png") as written:
        assert "icc_profile" not in written.info


def place(rng: random.Random, folder: Path) -> None:
    """Write a model to, or read it from, what another user owns, with modes of all kinds."""
    small, target = randomize(DCAE(tiny_config())), folder / "theirs/model"
    target.parent.mkdir()
    umask = rng.choice([0o022, 0o002, 0o077, 0o027])
    if writes := rng.random() < 0.5:
        target.parent.chmod(rng.choice([0o777, 0o755, 0o777, 0o700, 0o000]))
    else:
        before = os.umask(umask)
        save_model(small, target)
        os.umask(before)
        (target / WEIGHTS).chmod(rng.choice([0o644, 0o600, 0o444, 0o666 & ~umask]))
        target.chmod(rng.choice([0o755, 0o755, 0o700]))
    try:
        with another_user(umask):
            if writes:
                check_new(target, "--out")
                save_model(small, target)
            assert read_model(target).config == small.config
            if writes:
                assert target.joinpath(WEIGHTS).stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        assert os.listdir(target.parent) in ([], ["model"])


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
@pytest.mark.parametrize("kind", [parameters, model, photo, statistics, names, color, place])
def test_bad_input_ends_in_one_line_or_in_the_right_result(
    kind: Callable[[random.Random, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    open_to_others(tmp_path)
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
