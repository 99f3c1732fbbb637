"""Errors that a user can mend, shown as one line without a traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(ValueError):
    """Bad input: the message names the field or file, what was found and what was expected."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a `UserError`, and a disk that is full, into `error: ...` on stderr and exit code 1."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        _fail(f"{error.filename or 'a file'}: can't be written ({error.strerror})")


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(1)
