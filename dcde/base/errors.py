"""Errors that a user can fix, shown as one line without a traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(ValueError):
    """Bad input; the message names the field or file, what was found and what was expected."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a `UserError`, a full disk, an unusable path and Ctrl-C into `error: ...`, exit 1."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:  # training handles it and saves its state
        _fail("stopped by Ctrl-C; the same command continues from what is finished")
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
