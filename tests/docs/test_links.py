"""Every link of the documents leads somewhere, and every file that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.markdown import PAGES, anchors, links, prose
from tests.helpers.tiny import ROOT

FILE = re.compile(r"`((?:autoencoder|benchmarks|dcde|docs|presets|stages|tests)/[\w/.-]+\.\w+)`")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    missing = [name for name in FILE.findall(prose(page)) if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", (ROOT / "docs").glob("*.md"), ids=lambda page: page.name)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    assert f"docs/{page.name}" in links(ROOT / "README.md")
