"""Programs accept every command in the documents, and parameters exist and accept their values."""

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from typer.testing import CliRunner

from dcde.commands.app import app
from dcde.params.autoencoder import AutoencoderParams
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from tests.helpers.markdown import PAGES, Command, block_commands, blocks, codes, prose_commands
from tests.helpers.tiny import ROOT
from tests.helpers.workspace import STAGES

PARAMS = {ROOT: Params, ROOT / "autoencoder": AutoencoderParams}
COMMITTED = {folder: yaml.safe_load((folder / "params.yaml").read_text()) for folder in PARAMS}
COMMANDS = {
    str(command): command
    for page in PAGES
    for command in [c for b in blocks(page) for c in block_commands(b)] + [*prose_commands(page)]
}
PRESET = re.compile(r"\$\(dcde preset ([\w-]+)\)")


def of(program: str) -> Any:
    found = [command for command in COMMANDS.values() if command.words[0] == program]
    return pytest.mark.parametrize("command", found, ids=str)


def parse(program: Any, arguments: list[str]) -> None:
    """Parse as the command would, down to its last subcommand, without running it."""
    while hasattr(program, "commands") and arguments:
        name, *arguments = arguments
        assert name in program.commands, f"{name}: no such command"
        program = program.commands[name]
    try:
        program.make_context("docs", list(arguments))
    except Exception as error:  # sentences may leave out arguments
        if type(error).__name__ != "MissingParameter":
            raise


@of("dcde")
def test_dcde_accepts_it(command: Command) -> None:
    parse(typer.main.get_command(app), list(command.words[1:]))


@pytest.mark.parametrize("command", [c for c in COMMANDS.values() if "-m" in c.words], ids=str)
def test_python_has_the_module_and_it_accepts_the_options(command: Command) -> None:
    at = command.words.index("-m")
    name, *arguments = command.words[at + 1 :]
    spec = importlib.util.find_spec(name)
    assert spec is not None
    if name.startswith("benchmarks."):
        module = importlib.import_module(
            f"{name}.__main__" if spec.submodule_search_locations else name
        )
        program = typer.Typer()
        program.command()(module.main)
        parse(typer.main.get_command(program), arguments)


@of("dvc")
def test_dvc_accepts_it_and_its_parameters(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.chdir(command.folder)
    words: list[str] = []
    for word in command.words[1:]:
        if preset := PRESET.fullmatch(word):
            word = (
                "" if preset[1] == "NAME" else CliRunner().invoke(app, ["preset", preset[1]]).stdout
            )
        words += shlex.split(word) if preset else [word]
    try:
        parsed = get_main_parser().parse_args(words)
    except DvcParserError:
        assert "arguments are required" in caplog.text, caplog.text
        return
    assert {name.partition(":")[0] for name in getattr(parsed, "targets", None) or ()} <= STAGES
    if pairs := getattr(parsed, "set_param", None):
        check_values(pairs, command.folder, tmp_path)


def check_values(pairs: list[str], pipeline: Path, folder: Path) -> None:
    """Put `name=value` into the committed parameters as DVC does, and read them."""
    params = folder / "params.yaml"
    for sweep in get_hydra_sweeps({str(params): pairs}):
        params.write_text((pipeline / "params.yaml").read_text())
        apply_overrides(str(params), sweep[str(params)])
        load_params(params, PARAMS[pipeline])


def test_values_survive_any_shell() -> None:
    """zsh takes unquoted brackets for patterns of files."""
    texts = [path for end in ("*.md", "*.yaml", "*.py") for path in ROOT.glob(f"[a-z]*/**/{end}")]
    texts += [*PAGES, ROOT / "params.yaml"]
    unquoted = re.compile(r"-S \w[^\s'\"]*[\[*?].*")
    assert not [found for path in texts for found in unquoted.findall(path.read_text())]


def test_named_parameters_exist_and_accept_their_values(tmp_path: Path) -> None:
    sections = {
        name: folder
        for folder, values in reversed(COMMITTED.items())
        for name in values
        if isinstance(values[name], dict)
    }
    pattern = re.compile(rf"((?:{'|'.join(sections)})\.[a-z0-9_.]+)(?:(?:=|: )(.+))?")
    for code in {code for page in PAGES for code in codes(page)}:
        named = pattern.fullmatch(code)
        if named is None or named[1].endswith((".py", ".json")):
            continue
        pipeline = sections[code.partition(".")[0]]
        found: Any = COMMITTED[pipeline]
        for part in named[1].split("."):
            assert part in found, code
            found = found[part]
        if named[2] is not None:
            check_values([f"{named[1]}={named[2]}"], pipeline, tmp_path)
