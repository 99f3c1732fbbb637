"""The repository as a user has it, set to a run of seconds, and DVC's commands in it."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from dcde.commands.app import app
from tests.helpers.tiny import ROOT, run

STAGES = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
GENERATED = ("dvc.lock", "metrics", "plots")


def ran(output: str) -> set[str]:
    """The stages that DVC says it ran."""
    return {name for name in STAGES if f"Running stage '{name}'" in output}


def dvc(folder: Path, *arguments: str, **env: str) -> str:
    """What a command prints, which must succeed; with --json, its standard output alone."""
    done = run([sys.executable, "-m", "dvc", *arguments], folder, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout if "--json" in arguments else done.stdout + done.stderr


def dcde(folder: Path, *arguments: str) -> Result:
    """Run a `dcde` command in this process."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        os.chdir(before)


def git(folder: Path, *arguments: str) -> str:
    done = run(["git", *arguments], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def identify(folder: Path) -> None:
    """Tell git who commits."""
    git(folder, "config", "user.name", "test")
    git(folder, "config", "user.email", "test@example.com")


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)


def change_params(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, value in changes.items():
        *sections, last = name.split(".")
        section = params
        for part in sections:
            section = section[part]
        section[last] = value
    path.write_text(yaml.safe_dump(params))


def copy_repository(folder: Path, photos: Path) -> None:
    """The repository as it is on disk, without results, committed, set to a run on five photos."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in run(command, ROOT).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for generated in GENERATED:
        path = folder / generated
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    change_params(
        folder,
        {
            "data.source": str(photos),
            "data.val_fraction": 0.4,
            "data.eval_size": 128,
            "data.eval_crops": 2,
            "distill.epochs": 2,
            "distill.division_epoch": 1,
            "distill.samples_per_epoch": 16,
            "distill.crops.image_size": 64,
            "distill.crops.short_side": [64, 128],
            "distill.crops_per_image": 4,
            "distill.validation_photos": 1,
            "profile.resolutions": [64],
        },
    )
    git(folder, "init", "-q")
    identify(folder)
    commit(folder, "copy")
