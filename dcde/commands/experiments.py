"""`dcde experiments`: show all finished experiments on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcde.base.errors import one_line_errors
from dcde.base.files import check_writable, whole_file
from dcde.base.paths import EXPERIMENTS_REPORT


def experiments(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = EXPERIMENTS_REPORT,
) -> None:
    """Show all finished DVC experiments on this commit on one page."""
    with one_line_errors():
        check_writable(out.parent, "--out")
        # Imported here, because it takes a second that all other commands would pay for.
        from dcde.report.experiments import experiments_page, read_experiments

        page = experiments_page(read_experiments())
        with whole_file(out) as partial:
            partial.write_text(page)
        typer.echo(out)
