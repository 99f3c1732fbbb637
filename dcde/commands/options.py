"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcde.base.paths import STUDENT

SOURCES = "bundled:NAME, hf:OWNER/NAME[@REVISION][/FOLDER] or a folder."
ModelOption = Annotated[str, typer.Option("--model", help=SOURCES)]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]

DEFAULT_MODEL = str(STUDENT)
