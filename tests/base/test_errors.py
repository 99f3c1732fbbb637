"""What ends a command ends it in one line."""

from __future__ import annotations

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


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(KeyError, match="other"), one_line_errors():
        raise KeyError("other")
