"""Take the documents apart: blocks of code, commands, headings, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.tiny import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "dcde/assets").glob("*.md")),
]
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("accelerate ", "dcde ", "dvc ", "python ")
"""Programs whose commands the tests parse."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    name: str
    language: str
    text: str
    runs: bool
    """False if the line before it says why it can't run in a test."""


@dataclass(frozen=True)
class Command:
    """A command that a page tells its reader to run."""

    where: str
    words: tuple[str, ...]
    folder: Path
    """The folder to run it in: the root or autoencoder/."""

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(2)) + 1
        yield Block(f"{page.name}:{line}", found[2], found[3], runs=found[1] is None)


def prose(page: Path) -> str:
    """Return the page without its blocks."""
    return BLOCK.sub("", page.read_text())


def codes(page: Path) -> list[str]:
    """Return the backquoted parts of sentences and tables."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def block_commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block without a language; `\\` continues a line."""
    folder = ROOT
    for line in block.text.replace("\\\n", " ").splitlines() if not block.language else ():
        if line == "cd autoencoder":
            folder = ROOT / "autoencoder"
        elif line.startswith(PROGRAMS):
            yield Command(block.name, _words(line), folder)


def prose_commands(page: Path) -> Iterator[Command]:
    """Yield the commands in sentences, which may lack arguments."""
    for code in codes(page):
        line = f"dvc exp run {code}" if code.startswith("-S ") else code.removeprefix(".venv/bin/")
        if line.startswith(PROGRAMS):
            folder = ROOT / "autoencoder" if "phase" in code else ROOT
            yield Command(page.name, _words(line.removesuffix(" ...").removesuffix(" -S")), folder)


def _words(line: str) -> tuple[str, ...]:
    """Split like a shell, but keep $( ) as one word."""
    hidden = re.sub(r"\$\([^)]*\)", lambda found: found[0].replace(" ", "\0"), line)
    return tuple(word.replace("\0", " ") for word in shlex.split(hidden, comments=True))


def anchors(page: Path) -> set[str]:
    """Return the page's headings as GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def links(page: Path) -> list[str]:
    """Return the targets of links and pictures, except those on the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not target.startswith(("http://", "https://"))]
