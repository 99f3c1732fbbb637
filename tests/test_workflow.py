"""The workflow on GitHub runs what people run, on the oldest Python that is promised."""

from __future__ import annotations

import re

import yaml

from tests.helpers.tiny import ROOT


def test_it_makes_the_tests_on_the_oldest_python() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    promised = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert promised is not None and job["strategy"]["matrix"]["python"][0] == promised[1]
    assert job["steps"][-1]["run"] == "make test PYTHON=python"
    (setup,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert all((ROOT / name).is_file() for name in setup["cache-dependency-path"].split())
