"""Fill in the template of the page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader
from markupsafe import Markup

from dcde.report.pictures import Picture


def render(pictures: Sequence[Picture], **values: Any) -> str:
    """Return `dcde/report/page.html` as one file, without the sections that have no values.

    Args:
        pictures: for the viewer; all have versions of the same names.
        values: the variables of the template.
    """
    room = files("dcde.report")
    environment = Environment(
        autoescape=True, loader=FunctionLoader(lambda name: (room / name).read_text())
    )
    return environment.get_template("page.html").render(pictures=pictures, **values)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table with escaped cells."""
    head = Markup("").join(Markup("<th>{}</th>").format(cell) for cell in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row)
        )
        for row in rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)
