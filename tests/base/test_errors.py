"""What ends a command ends it in one line."""

from __future__ import annotations

import pytest

from dcde.base.errors import one_line_errors


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise KeyboardInterrupt
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: stopped by Ctrl-C; the same command")
