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


def test_a_stage_is_told_by_its_description_and_its_outs(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dvc.yaml").write_text(PIPELINE)
    with told("bake"):
        assert capsys.readouterr().out == "bake: Bake: a cake\n"
    assert re.fullmatch(
        r"bake: wrote cake, crumbs, calories\.json in 0:00:0\d\n", capsys.readouterr().out
    )


def test_a_stage_that_fails_does_not_say_that_it_wrote(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dvc.yaml").write_text(PIPELINE)
    with pytest.raises(UserError, match="no flour"), told("bake"):
        raise UserError("no flour")
    assert "wrote" not in capsys.readouterr().out


def test_one_of_several_processes_speaks(
    in_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("dvc.yaml").write_text(PIPELINE)
    monkeypatch.setenv("RANK", "1")
    with told("bake"):
        pass
    assert capsys.readouterr().out == ""


def test_outside_of_a_pipeline_the_file_is_named(in_folder: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.yaml: not found, expected the pipeline"), told("x"):
        pass
