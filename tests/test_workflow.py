"""GitHub's workflows run what people run, and every clone has the same bytes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from dvc.cli.parser import get_main_parser

from tests.helpers.tiny import ROOT, run


def job(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
    (setup,) = (step for step in found["jobs"][name]["steps"] if "setup-python" in str(step))
    assert all((ROOT / file).is_file() for file in setup["with"]["cache-dependency-path"].split())
    return found["jobs"][name]


def test_tests_run_on_the_oldest_python() -> None:
    tests = job("test")
    promised = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert promised is not None and tests["strategy"]["matrix"]["python"][0] == promised[1]
    assert tests["steps"][-1]["run"] == "make test PYTHON=python"


def test_metrics_are_compared_after_the_default_run() -> None:
    commands = [step["run"] for step in job("metrics")["steps"] if "run" in step]
    assert commands[0] == "make repro PYTHON=python"
    (diff,) = (line for line in commands[1].splitlines() if "/dvc " in line)
    get_main_parser().parse_args(shlex.split(diff.partition(" >>")[0])[1:])


def test_a_clone_with_crlf_has_the_same_bytes(tmp_path: Path) -> None:
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), "clone"]
    assert run(clone, tmp_path).returncode == 0
    names = run(["git", "ls-files"], tmp_path / "clone").stdout.splitlines()
    head = ["git", "-C", str(ROOT), "cat-file", "-s"]
    for name in (n for n in names if n.endswith((".csv", ".json", ".lock", ".py", ".yaml"))):
        size = int(run([*head, f"HEAD:{name}"], tmp_path).stdout)
        assert (tmp_path / "clone" / name).stat().st_size == size, name
