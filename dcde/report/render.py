"""The page's template, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader
from markupsafe import Markup

from dcde.report.pictures import Picture


def render(pictures: Sequence[Picture], **values: Any) -> str:
    """The page from `dcde/report/page.html`, whose variables `values` are, as one file.

    Sections that get nothing to show are left out.

    Args:
        pictures: what its viewer shows, with versions of the same names.
    """
    room = files("dcde.report")
    environment = Environment(
        autoescape=True, loader=FunctionLoader(lambda name: (room / name).read_text())
    )
    return environment.get_template("page.html").render(pictures=pictures, **values)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of escaped cells."""
    head = Markup("").join(Markup("<th>{}</th>").format(cell) for cell in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row)
        )
        for row in rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)
