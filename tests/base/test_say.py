"""What stages say; tests/pipeline has what they say in a whole run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.base.say import told

PIPELINE = """
stages:
  bake:
    desc: "Bake: a cake"
    outs: [cake, crumbs: {cache: false}]
    metrics: [calories.json: {cache: false}]
"""


def test_a_stage_tells_its_description_and_outs(
    in_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"dvc\.yaml: not found, expected the pipeline"), told("x"):
        pass
    Path("dvc.yaml").write_text(PIPELINE)
    with told("bake"):
        assert capsys.readouterr().out == "bake: Bake: a cake\n"
    wrote = r"bake: wrote cake, crumbs, calories\.json in 0:00:0\d\n"
    assert re.fullmatch(wrote, capsys.readouterr().out)
    with pytest.raises(UserError, match="no flour"), told("bake"):
        raise UserError("no flour")
    assert "wrote" not in capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")  # another process of the same run
    with told("bake"):
        pass
    assert capsys.readouterr().out == ""
