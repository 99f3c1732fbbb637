"""dvc.yaml against the code: a stage has what it imports among its deps, and nothing needless."""

import ast
from pathlib import Path

import pytest
import yaml

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


TRAINED = {"distill", "eval", "profile", "report"}
RERUNS = {"commands": set(), "report": {"report"}, "evaluate": {"eval", "report"}}
RERUNS |= {"profile": {"profile", "report"}, "train": TRAINED, "distill": TRAINED}


@pytest.mark.parametrize("room", RERUNS)
def test_an_edit_reruns_what_depends_on_it(room: str) -> None:
    files = list((ROOT / "dcde" / room).glob("*.py"))
    assert files
    for file in files:
        assert reruns(str(file.relative_to(ROOT))) == RERUNS[room], file


def test_the_packages_own_file_computes_nothing() -> None:
    """All of its imports are for type checkers, or happen when a name is asked for."""
    tree = ast.parse(EXPORTS.read_text())
    eager = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) for node in eager} == {"importlib", "typing"}
