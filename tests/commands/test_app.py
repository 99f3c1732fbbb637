"""The commands say what they take."""

from __future__ import annotations

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
