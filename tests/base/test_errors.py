"""What ends a command ends it in one line."""

import errno
import getpass
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dcde.base.errors import one_line_errors
from dcde.metrics.weights import find_networks
from dcde.model.sources import load_model


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise KeyboardInterrupt
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: stopped by Ctrl-C; the same command")


@pytest.mark.parametrize(
    "ask", [find_networks, lambda: load_model("~/model"), Path.home, getpass.getuser]
)
def test_a_user_without_home_and_name(
    ask: Callable[[], Any],
    in_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in a container that runs as a number."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit), one_line_errors():
        ask()
    assert capsys.readouterr().err.startswith("error: this user has no home directory or no name")


SHARED = "runtime.workers: the processes that load images are out of shared"
FULL = "unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left\n"
NO_PLACE = "No usable temporary directory found in ['/tmp']"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DataLoader's workers are out of shared memory. Please raise it."), SHARED),
        (RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{FULL}"), SHARED),
        (FileNotFoundError(errno.ENOENT, NO_PLACE), f"{NO_PLACE}; set TMPDIR"),
    ],
)
def test_errors_of_libraries_become_one_line(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and said.count("\n") == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), KeyError("other"), FileNotFoundError(2, "no", "x")]
)
def test_faults_of_ours_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), one_line_errors():
        raise error
