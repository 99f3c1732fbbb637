"""The code prints the `error:` lines of docs/troubleshooting.md, with names filled in."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.markdown import blocks
from tests.helpers.tiny import ROOT

LITERAL_CHARACTERS = 15
"""A string must have this many fixed characters to identify a message."""
MESSAGES = [
    line.removeprefix("error: ")
    for block in blocks(ROOT / "docs/troubleshooting.md")
    for line in block.text.splitlines()
    if line.startswith("error: ")
]


def patterns(folder: Path) -> Iterator[str]:
    """Yield a regular expression for every string in the code that identifies a message."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else None for p in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            if sum(len(str(part)) for part in parts if part) >= LITERAL_CHARACTERS:
                yield "".join(".*" if p is None else re.escape(str(p).strip("\n")) for p in parts)


@pytest.fixture(scope="module")
def ours() -> list[str]:
    return list(patterns(ROOT / "dcde"))


@pytest.mark.parametrize("message", MESSAGES)
def test_our_code_prints_it(message: str, ours: list[str]) -> None:
    """The start may come from elsewhere: the file or field that a caller puts in front."""
    assert any(re.fullmatch(f"(?:.*: )?{pattern}(?:; .*)?", message) for pattern in ours)
