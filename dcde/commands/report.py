"""`dcde report`: all finished experiments on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import whole_file
from dcde.base.paths import EXPERIMENTS_REPORT


def report(
    exps: Annotated[bool, typer.Option("--exps", help="All finished experiments.")] = False,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = EXPERIMENTS_REPORT,
) -> None:
    """Write all finished DVC experiments on this commit as one page."""
    # Here, as it takes a second that every other command would wait for.
    from dcde.report.experiments import experiments_page, read_experiments

    with one_line_errors():
        if not exps:
            raise UserError(
                "report: expected --exps; the page of a single run is report/index.html, which "
                "`dvc repro` makes"
            )
        page = experiments_page(read_experiments())
        with whole_file(out) as partial:
            partial.write_text(page)
        typer.echo(out)
