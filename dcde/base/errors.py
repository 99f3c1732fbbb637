"""Errors that a user can fix, shown as one line without a traceback."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(ValueError):
    """Bad input; the message names the field or file, what was found and what was expected."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that a user can fix, and Ctrl-C, into `error: ...` and exit code 1.

    These are a `UserError`, a full disk, an unusable path, too little shared memory, and a user
    without home or name.
    """
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:  # training handles it and saves its state
        _fail("stopped by Ctrl-C; the same command continues from what is finished")
    except OSError as error:
        if error.errno in _BAD_PATH:
            _fail(f"{error.filename}: {error.strerror}")
        if error.errno == errno.ENOENT and error.filename is None:  # tempfile found no place
            _fail(f"{error.strerror}; set TMPDIR to a folder that can be written")
        if error.errno not in _NO_SPACE:
            raise
        _fail(f"{error.filename or 'a file'}: can't be written ({error.strerror})")
    except (RuntimeError, KeyError) as error:
        known = [message for words, message in _MESSAGES.items() if re.search(words, str(error))]
        if not known:
            raise
        _fail(known[0])


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BAD_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
_MESSAGES = {
    # pathlib's, DVC's and getpass's
    "home directory|getpwuid": "this user has no home directory or no name, as in a container that "
    "runs as an unknown user: set HOME to a folder that you can write to, and USER to any name",
    # torch's, of a worker that can't allocate it and of one that a signal killed
    r"shared memory\(shm\)|out of shared memory": "runtime.workers: the processes that load images "
    "are out of shared memory (/dev/shm): set fewer (0 takes none), or give a container more, such "
    "as `docker run --shm-size=2g`",
}
"""One line for errors that libraries raise, by what they say."""


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(1)
