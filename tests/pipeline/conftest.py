"""A finished run of the pipeline, made once; each file of tests gets a copy to change.

Processes of pytest-xdist share it: their temporary folders lie in one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers.workspace import STAGES, commit, copy_repository, dvc, ran


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, photos: Path, networks: Path) -> Path:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.with_suffix(".whole").is_file():
            folder.mkdir()
            copy_repository(folder, photos)
            printed = dvc(folder, "repro")
            assert ran(printed) == STAGES
            folder.with_suffix(".printed").write_text(printed)
            commit(folder, "results")
            folder.with_suffix(".whole").touch()
    return folder


@pytest.fixture(scope="module")
def workspace(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace") / "repository"
    shutil.copytree(finished_run, folder, symlinks=True)
    return folder
