"""Errors that a user can mend, shown as one line without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: the message names the field or file, what was found and what was expected."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a `UserError` into `error: ...` on stderr and exit code 1."""
    try:
        yield
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
