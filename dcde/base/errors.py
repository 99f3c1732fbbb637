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
    """Turn a `UserError`, a full disk and an unusable path into `error: ...` and exit code 1."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno in _BAD_PATH:
            _fail(f"{error.filename}: {error.strerror}")
        if error.errno not in _NO_SPACE:
            raise
        _fail(f"{error.filename or 'a file'}: can't be written ({error.strerror})")


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BAD_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(1)
