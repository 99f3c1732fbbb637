"""dvc.yaml against the code: a stage has what it imports among its deps, and nothing needless."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from dcde.base import paths
from tests.helpers.tiny import ROOT
from tests.helpers.workspace import STAGES

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())


def module_file(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def imported_files(file: Path, seen: set[Path]) -> set[Path]:
    """All files of the project that importing `file` runs, those with nothing in them left out."""
    seen.add(file)
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            for i in range(1, len(parts) + 1):
                found = module_file(".".join(parts[:i]))
                if found and found.stat().st_size and found not in seen and found != EXPORTS:
                    imported_files(found, seen)
    return seen


EXPORTS = ROOT / "dcde/__init__.py"
"""Only names what others may import (a test below), so that an edit in it needs no new run."""


def outs(stage: str) -> set[str]:
    listed = PIPELINE["stages"][stage].get("outs", [])
    return {name for out in listed for name in ([out] if isinstance(out, str) else out)}


def inside(path: str, folders: set[str]) -> bool:
    """Whether a path is one of these, or lies below one, or holds one."""
    return any(path == f or path.startswith(f + "/") or f.startswith(path + "/") for f in folders)


def reruns(file: str) -> set[str]:
    """The stages that DVC runs again after an edit in a file, all those behind them included."""
    stages = {name: set(stage["deps"]) for name, stage in PIPELINE["stages"].items()}
    found = {name for name, deps in stages.items() if inside(file, deps)}
    while True:
        made = {out for name in found for out in outs(name)}
        more = {n for n, deps in stages.items() if any(inside(out, deps) for out in made)}
        if more <= found:
            return found
        found |= more


def files_of(room: str) -> list[str]:
    return [str(p.relative_to(ROOT)) for p in sorted((ROOT / "dcde" / room).glob("*.py"))]


def test_the_stages_are_those_that_the_tests_know() -> None:
    assert PIPELINE["stages"].keys() == STAGES


@pytest.mark.parametrize("name", sorted(STAGES))
def test_stage_lists_the_files_it_imports(name: str) -> None:
    stage = PIPELINE["stages"][name]
    module = stage["cmd"].split(" -m ")[1].split()[0]
    script = module_file(module)
    assert script == ROOT / f"stages/{name}.py"
    listed = {ROOT / dep for dep in stage["deps"]}
    missing = [
        str(file.relative_to(ROOT))
        for file in sorted(imported_files(script, set()))
        if file not in listed and not any(file.is_relative_to(dep) for dep in listed)
    ]
    assert missing == []
    assert all(dep.exists() for dep in listed if dep.is_relative_to(ROOT / "dcde"))


@pytest.mark.parametrize("room", ["report", "evaluate", "commands"])
def test_edits_that_must_not_train_again(room: str) -> None:
    assert files_of(room)
    for file in files_of(room):
        assert "distill" not in reruns(file), file


def test_an_edit_in_profile_reruns_profile_and_report_alone() -> None:
    for file in files_of("profile"):
        assert reruns(file) == {"profile", "report"}, file


def test_an_edit_in_the_trainer_trains_again() -> None:
    for file in (*files_of("train"), *files_of("distill")):
        assert reruns(file) == {"distill", "eval", "profile", "report"}, file


def test_the_packages_own_file_computes_nothing() -> None:
    """All of its imports are for type checkers, or happen when a name is asked for."""
    tree = ast.parse(EXPORTS.read_text())
    eager = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) for node in eager} == {"importlib", "typing"}


def test_paths_are_those_of_dvc_yaml() -> None:
    known = {"params.yaml"} | {out for name in STAGES for out in outs(name)}
    named = {name: value for name, value in vars(paths).items() if isinstance(value, Path)}
    others = {"PRESETS", "EXPERIMENTS_REPORT"}
    for name in named.keys() - others:
        path = str(named[name])
        assert any(path == k or path.startswith(k + "/") for k in known), name
    produced = {str(value) for value in named.values()}
    assert {out for name in STAGES for out in outs(name)} <= produced


def test_registered_artifacts_are_outputs() -> None:
    artifacts = {name: entry["path"] for name, entry in PIPELINE["artifacts"].items()}
    assert artifacts == {"teacher": str(paths.TEACHER), "student": str(paths.STUDENT)}
