"""The tables of ideas, and the runner that goes through them."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks import ideas
from dcde.params.pipeline import Params
from tests.helpers.tiny import ROOT


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("table", ideas.TABLES.glob("*.yaml"), ids=lambda path: path.stem)
def test_every_row_changes_parameters_in_a_way_of_its_own(table: Path) -> None:
    rows = yaml.safe_load(table.read_text())["rows"]
    params = [ideas.row_params(changes, seed=0).model_dump_json() for changes in rows.values()]
    assert len(set(params)) == len(rows) > 3


def test_rows_in_the_file_do_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[float, bool]] = []

    def measure(params: Params, photos: object, sets: object, *, train: bool) -> dict[str, float]:
        measured.append((params.seed, train))
        return {"lpips_gap": 0.1}

    monkeypatch.setattr(ideas, "measure", measure)
    monkeypatch.setattr(ideas.Manifest, "load", lambda path: SimpleNamespace(train=[], eval=[]))
    out = tmp_path / "out.csv"
    first, second = "default, cut", "default, repaired"
    ideas.main("repair", out, only=[first])
    ideas.main("repair", out, only=[first, second])
    ideas.main("repair", out, only=[first], seed=1)
    assert measured == [(0, False), (0, False), (1, False)]
    with out.open() as file:
        rows = [(row["row"], row["seed"]) for row in csv.DictReader(file)]
    assert rows == [(first, "0"), (second, "0"), (first, "1")]
