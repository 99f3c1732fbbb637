"""Links lead somewhere, files that pages name exist, and the README leads to every page."""

import re

from tests.helpers.markdown import PAGES, anchors, links, prose
from tests.helpers.tiny import ROOT

FILE = re.compile(r"`((?:autoencoder|benchmarks|dcde|docs|presets|stages|tests)/[\w/.-]+\.\w+)`")


def test_links_lead_to_files_and_headings() -> None:
    for page in PAGES:
        for target in links(page):
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(there), f"{page.name}: {target}"


def test_named_files_exist() -> None:
    named = {(page.name, file) for page in PAGES for file in FILE.findall(prose(page))}
    assert not [(page, file) for page, file in named if not (ROOT / file).exists()]


def test_the_readme_leads_to_every_page() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(links(ROOT / "README.md"))
