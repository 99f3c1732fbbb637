"""The commands say what they take, and try where they will write before they work."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dcde.commands.app import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0, done.exception
    for parameter in COMMANDS[name].params:
        assert parameter.opts[0] in done.output


@pytest.mark.parametrize("name", ["eval", "reconstruct", "export", "push"])
def test_help_shows_the_form_of_a_model_on_the_hub(name: str) -> None:
    words = " ".join(CliRunner().invoke(app, [name, "--help"]).output.split())
    assert "hf:OWNER/NAME[@REVISION][/FOLDER]" in words


WRITE = (
    "eval --model nowhere",
    "export --format diffusers",
    "export --format onnx",
    "push me/mine --dry-run",
    "experiments",
)


@pytest.mark.parametrize("command", WRITE)
def test_a_place_that_can_not_be_written_is_named_first(command: str, in_folder: Path) -> None:
    """There is no model here, and no repository: that would be named next."""
    Path("file").touch()
    done = CliRunner().invoke(app, [*command.split(), "--out", "file/out"])
    assert done.exit_code == 1
    assert done.output == f"error: --out: can't write in {in_folder / 'file'} (Not a directory)\n"
