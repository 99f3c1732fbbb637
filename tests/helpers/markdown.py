"""The README and the docs, taken apart: blocks of code, commands, headings, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.tiny import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "dcde/assets").glob("*.md")),
]
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
"""In the line before a block, why it is not run by the tests."""
PROGRAMS = ("accelerate", "dcde", "dvc", "export", "git", "hf", "make", "pip", "python", "source")
"""A line that starts with one of these is a command; other lines are what commands print."""
OF_AUTOENCODER = {"training.md"}
"""Pages whose sentences are about the pipeline in that folder."""
_PATH_START = re.compile(r"\.venv/bin/(?=python )")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: Path
    line: int
    """That of its first fence, counted from 1."""
    language: str
    text: str
    not_run: str | None
    """Why the tests do not run it, as the line before it says."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command that a page tells its reader to run."""

    where: str
    words: tuple[str, ...]
    folder: Path
    """Where it runs, as `cd` in a line before it says."""
    whole: bool
    """False where it is only named in a sentence, perhaps without its arguments."""

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    lines = page.read_text().splitlines()
    opened: int | None = None
    for i, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = i
            continue
        mark = NOT_RUN.fullmatch(lines[opened - 1]) if opened else None
        text = "\n".join(lines[opened + 1 : i]) + "\n"
        language = lines[opened].removeprefix("```").strip()
        yield Block(page, opened + 1, language, text, mark[1] if mark else None)
        opened = None
    assert opened is None, f"{page}: the block of line {opened} is never closed"


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def block_commands(block: Block) -> Iterator[Command]:
    """Those in a block with no language, with continued lines joined."""
    if block.language:
        return
    folder = ROOT
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("cd ") and (ROOT / line.removeprefix("cd ")).is_dir():
            folder = ROOT / line.removeprefix("cd ")
        if line.split(" ")[0] in PROGRAMS:
            yield Command(str(block), tuple(_words(line)), folder, whole=True)


def prose_commands(page: Path) -> Iterator[Command]:
    """Those that sentences and tables name, in backquotes."""
    for code in codes(page):
        line = _PATH_START.sub("", code)
        if line.startswith("-S "):
            line = f"dvc exp run {line}"
        if line.split(" ")[0] in PROGRAMS and " " in line:
            words = [word for word in _words(line) if word != "..."]
            folder = ROOT / "autoencoder" if page.name in OF_AUTOENCODER else ROOT
            yield Command(page.name, tuple(words), folder, whole=False)


def codes(page: Path) -> list[str]:
    """What sentences and tables have in backquotes."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def _words(line: str) -> list[str]:
    """A shell's words, of which a command in $( ) is one."""
    hidden = re.sub(r"\$\([^)]*\)", lambda match: match[0].replace(" ", "\0"), line)
    return [word.replace("\0", " ") for word in shlex.split(hidden, comments=True)]


def anchors(page: Path) -> set[str]:
    """What a link can point at in a page: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def links(page: Path) -> list[str]:
    """All targets of links and pictures, but those on the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not target.startswith(("http://", "https://"))]
