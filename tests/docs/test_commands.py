"""Every command in the documents is one that its program takes, with values that are valid."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from dcde.params.autoencoder import AutoencoderParams
from dcde.params.overrides import leaves, overrides
from dcde.params.pipeline import Params
from dcde.params.file import load_params
from dcde.params.section import Section
from dcde.commands.app import app
from dcde.commands.preset import read_preset
from tests.helpers.markdown import (
    PAGES,
    Command,
    block_commands,
    blocks,
    codes,
    prose_commands,
)
from tests.helpers.tiny import ROOT
from tests.helpers.workspace import STAGES

PRESET = re.compile(r"\$\(dcde preset (\S+)\)")
MODELS: dict[Path, type[Section]] = {ROOT: Params, ROOT / "autoencoder": AutoencoderParams}
"""Folder of a pipeline to what its params.yaml is read as."""
COMMITTED = {folder: yaml.safe_load((folder / "params.yaml").read_text()) for folder in MODELS}
ANY_NAME = re.compile(r"NAME|<.*>")
"""What stands for a name in a sentence."""


def commands() -> Iterator[Command]:
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # what was right at its time stays
            for block in blocks(page):
                yield from block_commands(block)
            yield from prose_commands(page)


COMMANDS = list(commands())
PYTHON = [c for c in COMMANDS if "-m" in c.words and c.words[0] != "pip"]


def of(program: str) -> Any:
    found = [command for command in COMMANDS if command.words[0] == program]
    assert found
    return pytest.mark.parametrize("command", found, ids=str)


def check_arguments(program: Any, arguments: Sequence[str], *, whole: bool) -> None:
    """Parse as the command would, down to its last subcommand, without running it."""
    if hasattr(program, "commands") and arguments:
        name, *rest = arguments
        assert name in program.commands, f"{name}: no such command"
        check_arguments(program.commands[name], rest, whole=whole)
        return
    try:
        program.make_context("docs", list(arguments))
    except Exception as error:
        if whole or type(error).__name__ != "MissingParameter":
            raise AssertionError(error) from None


@of("dcde")
def test_dcde_takes_it(command: Command) -> None:
    _, *arguments = command.words
    check_arguments(typer.main.get_command(app), arguments, whole=command.whole)
    if arguments[0] == "preset" and len(arguments) > 1 and not ANY_NAME.search(arguments[1]):
        assert arguments[1] == "--list" or read_preset(command.folder / "presets", arguments[1])


@pytest.mark.parametrize("command", PYTHON, ids=str)
def test_python_has_the_module_and_it_takes_the_options(command: Command) -> None:
    at = command.words.index("-m")
    name, arguments = command.words[at + 1], command.words[at + 2 :]
    assert importlib.util.find_spec(name) is not None
    if name.startswith("benchmarks."):
        package = importlib.util.find_spec(name).submodule_search_locations  # type: ignore[union-attr]
        module = importlib.import_module(f"{name}.__main__" if package else name)
        program = typer.Typer()
        program.command()(module.main)
        check_arguments(typer.main.get_command(program), arguments, whole=command.whole)


@of("dvc")
def test_dvc_takes_it_and_its_values_are_valid(
    command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words: list[str] = []
    for word in command.words[1:]:
        preset = PRESET.fullmatch(word)
        if preset and not ANY_NAME.search(preset[1]):
            pairs = overrides(leaves(read_preset(command.folder / "presets", preset[1])))
            words += [part for pair in pairs for part in ("-S", pair)]
        elif not preset:
            words.append(word)
    if words[-1] == "-S":  # in a sentence that says what -S does
        words.pop()
    try:
        parsed = get_main_parser().parse_args(words)
    except DvcParserError:
        said = caplog.text
        assert not command.whole and "arguments are required" in said, said
        return
    assert {name.partition(":")[0] for name in getattr(parsed, "targets", None) or ()} <= STAGES
    if asked := getattr(parsed, "set_param", None):
        check_values(asked, command.folder, tmp_path)


def check_values(pairs: Sequence[str], pipeline: Path, folder: Path) -> None:
    """Put `name=value` into the committed parameters as DVC does, and read them."""
    params = folder / "params.yaml"
    for sweep in get_hydra_sweeps({str(params): list(pairs)}):
        params.write_text((pipeline / "params.yaml").read_text())
        apply_overrides(str(params), sweep[str(params)])
        load_params(params, MODELS[pipeline])


SECTIONS = {
    name: folder
    for folder, values in reversed(COMMITTED.items())
    for name in values
    if isinstance(values[name], dict)
}
"""Section to the pipeline that has it; of two, the main one."""
NAMED = re.compile(rf"((?:{'|'.join(SECTIONS)})\.[a-z0-9_.]+)(?:(?:=|: )(.+))?")
PARAMETERS = sorted(
    {
        (page.name, match[1], match[2])
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for code in codes(page)
        if (match := NAMED.fullmatch(code)) and not match[1].endswith((".py", ".json"))
    },
    key=str,
)


@pytest.mark.parametrize(("page", "name", "value"), PARAMETERS)
def test_parameters_that_are_named_exist(
    page: str, name: str, value: str | None, tmp_path: Path
) -> None:
    pipeline = SECTIONS[name.partition(".")[0]]
    found: Any = COMMITTED[pipeline]
    for part in name.split("."):
        assert part in found, name
        found = found[part]
    if value is not None:
        check_values([f"{name}={value}"], pipeline, tmp_path)


@of("make")
def test_make_has_the_target(command: Command) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert command.words[1] in targets


def test_pip_installs_extras_that_exist() -> None:
    named = re.findall(r"'dcde\[(\w+)\]'", shlex.join(w for c in COMMANDS for w in c.words))
    project = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, flags=re.MULTILINE) for extra in named)
