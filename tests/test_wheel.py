"""The package as pip installs it, without the repository: what belongs to it is in it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.tiny import ROOT, SKIMAGE_DATA, run

BUNDLED = "bundled:dc-ae-f16c16-photos"
# One process for all commands, as each start takes seconds.
EACH_COMMAND = """
import json, sys
import dcde
from dcde.commands.app import app

print(dcde.__file__)
for arguments in json.loads(sys.argv[1]):
    try:
        app(arguments)
    except SystemExit as end:
        print("exit", end.code)
"""


def install(folder: Path) -> Path:
    """Build a wheel of the files as they are; return a folder into which pip has installed it."""
    source, wheels, installed = (folder / name for name in ("source", "wheels", "installed"))
    source.mkdir()  # a copy, as a build leaves folders beside what it builds
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dcde", source / "dcde", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    for step in (
        ["wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels), str(source)],
        ["install", *offline, "--target", str(installed), "--find-links", str(wheels), "dcde"],
    ):
        done = subprocess.run([*pip, *step], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return installed


def test_commands_work_where_there_is_no_repository(networks: Path, tmp_path: Path) -> None:
    installed = install(tmp_path)
    (tmp_path / "cache/dcde").mkdir(parents=True)
    (tmp_path / "cache/dcde/metric_networks").symlink_to(networks)
    (tmp_path / "photos").mkdir()
    for name in ("astronaut.png", "chelsea.png"):
        shutil.copy(SKIMAGE_DATA / name, tmp_path / "photos")
    (wheel,) = (tmp_path / "wheels").iterdir()
    assert wheel.stat().st_size < 18e6
    commands = [
        ["eval", "--model", BUNDLED, "--images", "photos", "--size", "64", "--out", "scores.json"],
        ["reconstruct", "photos/chelsea.png", "--model", BUNDLED, "--out", "pictures"],
        ["export", "--format", "diffusers", "--model", BUNDLED, "--out", "teacher"],
        ["preset", "tiny"],
        ["preset", "--list"],
        ["check"],
        ["experiments"],
    ]
    env = {
        "PYTHONPATH": str(installed),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
    }
    done = run([sys.executable, "-c", EACH_COMMAND, json.dumps(commands)], tmp_path, **env)
    said = done.stdout.splitlines()
    assert said[0] == str(installed / "dcde/__init__.py"), done.stderr
    ends = [line for line in said if line.startswith("exit")]
    assert ends == ["exit 0"] * 3 + ["exit 1"] * 4, done.stdout + done.stderr

    assert json.loads((tmp_path / "scores.json").read_text())["images"] == 2
    assert (tmp_path / "pictures/chelsea.png").is_file()
    assert (tmp_path / "teacher/diffusion_pytorch_model.safetensors").is_file()
    # What needs the repository says so in one line.
    stops = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    where, starts = "run it in the repository's root", ("preset", "presets", "params.yaml", "dvc")
    assert len(stops) == len(starts)
    for stop, start in zip(stops, starts, strict=True):
        assert stop.startswith(f"error: {start}") and (where in stop or start == "params.yaml")
