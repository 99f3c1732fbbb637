"""Where a command is to write is tried before it works."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcde.commands.app import app

COMMANDS = (
    "eval --model nowhere",
    "export --format diffusers",
    "export --format onnx",
    "push me/mine --dry-run",
    "experiments",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_can_not_be_written_is_named_first(command: str, in_folder: Path) -> None:
    """There is no model here, and no repository: that would be named next."""
    Path("file").touch()
    done = CliRunner().invoke(app, [*command.split(), "--out", "file/out"])
    assert done.exit_code == 1
    assert done.output == f"error: --out: can't write in {in_folder / 'file'} (Not a directory)\n"
