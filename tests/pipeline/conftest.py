"""A finished run of the pipeline, made once; each file of tests gets a copy to change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.workspace import STAGES, commit, copy_repository, dvc, ran


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, photos: Path, networks: Path) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    copy_repository(folder, photos)
    assert ran(dvc(folder, "repro")) == STAGES
    commit(folder, "results")
    return folder


@pytest.fixture(scope="module")
def workspace(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace") / "repository"
    shutil.copytree(finished_run, folder, symlinks=True)
    return folder
