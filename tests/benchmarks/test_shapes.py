"""The search for the best shape of a size."""

import csv
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks import shapes
from dcde.model import zoo_config
from dcde.model.costs import decoder_macs
from dcde.params.pipeline import Params
from dcde.prune.shape import student_config
from tests.helpers.tiny import ROOT

ALL = yaml.safe_load(shapes.SHAPES.read_text())


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("name", "budget"), [(name, budget) for name in ALL for budget in ALL[name]]
)
def test_shapes_of_a_budget_cost_about_the_same(name: str, budget: str) -> None:
    teacher = zoo_config(name)
    wanted = float(budget.rstrip("%")) / 100 * decoder_macs(teacher, 256)
    assert len(ALL[name][budget]) >= 12
    for shape in ALL[name][budget]:
        params = shapes.shape_params(teacher, shape, crops=4, seed=0)
        macs = decoder_macs(student_config(teacher, params.prune), 256)
        assert macs == pytest.approx(wanted, rel=0.08), shape


def test_an_output_layer_that_repair_makes_anew_trains_too() -> None:
    teacher = zoo_config("dc-ae-f16c16-photos")
    same = shapes.shape_params(teacher, [[0, 1, 1, 1, 1], None, 1], crops=4, seed=0)
    assert (same.distill.freeze_project_out, same.loss.feature) == (True, 10)
    narrower = [[0, 1, 1, 1, 1], [16, 16, 32, 64, 64], 1]
    new = shapes.shape_params(teacher, narrower, crops=4, seed=0)
    assert (new.distill.freeze_project_out, new.loss.feature) == (False, 0)


def test_the_best_quarter_trains_longer_and_the_best_two_by_three_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(params: Params, photos: object, sets: object, *, train: bool) -> dict[str, float]:
        return {"others_lpips_gap": params.prune.depth_list[2]}

    monkeypatch.setattr(shapes, "measure", measure)
    monkeypatch.setattr(shapes.Manifest, "load", lambda path: SimpleNamespace(train=[], eval=[]))
    monkeypatch.setattr(shapes, "crops_to_score", lambda images, size: [])
    monkeypatch.setattr(
        shapes, "read_model", lambda path: SimpleNamespace(config=zoo_config("dc-ae-f16c16-photos"))
    )
    out = tmp_path / "out.csv"
    for _ in range(2):  # what the file has does not run again
        shapes.main(out, tmp_path, only=["12%"])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    runs = Counter((row["crops"], row["seed"]) for row in rows)
    assert runs == {("150", "0"): 12, ("600", "0"): 3, ("600", "1"): 2, ("600", "2"): 2}
    longer = [json.loads(row["shape"])[0][2] for row in rows if row["crops"] == "600"]
    assert set(longer) == {2}
