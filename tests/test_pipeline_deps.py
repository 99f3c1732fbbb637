"""DVC does not follow imports: each stage must list the modules that it runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def module_file(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def imported_files(file: Path, seen: set[Path]) -> set[Path]:
    """All files of the project that importing `file` runs."""
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
                if found and found.stat().st_size and found not in seen:
                    imported_files(found, seen)
    return seen


def stages(dvc_file: str) -> dict[str, dict]:
    return yaml.safe_load((ROOT / dvc_file).read_text())["stages"]


ALL = [(f, name) for f in ("dvc.yaml", "teacher/dvc.yaml") for name in stages(f)]


@pytest.mark.parametrize(("dvc_file", "name"), ALL)
def test_stage_lists_the_modules_it_imports(dvc_file: str, name: str) -> None:
    stage = stages(dvc_file)[name]
    module = stage["cmd"].split(" -m ")[1].split()[0]
    script = module_file(module)
    assert script is not None
    base = (ROOT / dvc_file).parent / stage.get("wdir", ".")
    listed = {(base / dep).resolve() for dep in stage["deps"]}
    missing = [
        str(file.relative_to(ROOT))
        for file in sorted(imported_files(script, set()))
        if file not in listed and not any(file.is_relative_to(dep) for dep in listed)
    ]
    assert missing == []


def test_registered_artifacts_are_outputs() -> None:
    artifacts = yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]
    listed = [out for stage in stages("dvc.yaml").values() for out in stage.get("outs", [])]
    outputs = {out for out in listed if isinstance(out, str)}
    assert {name: entry["path"] for name, entry in artifacts.items()} == {
        "teacher": "models/teacher",
        "student": "models/student",
    }
    assert {entry["path"] for entry in artifacts.values()} <= outputs


@pytest.mark.parametrize(("dvc_file", "name"), ALL)
def test_stage_has_a_description(dvc_file: str, name: str) -> None:
    assert stages(dvc_file)[name]["desc"]
