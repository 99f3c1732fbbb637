"""Write the run as one page: table, pictures, charts, parameters."""

import csv
import json
from pathlib import Path

from dcde.checkpoint import load_model
from dcde.config import Params
from dcde.data import Manifest, spread
from dcde.errors import one_line_errors
from dcde.files import whole_file
from dcde.page import RunRecord, decode_pictures, read_curves, run_page
from dcde.paramsfile import load_params

PARAMS, METRICS = Path("params.yaml"), Path("metrics")
SHOWN, WORST = 6, 5


def main() -> None:
    params = load_params(PARAMS, Params)
    scores, costs = (json.loads((METRICS / f"{n}.json").read_text()) for n in ("eval", "profile"))
    with (METRICS / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    crops = Manifest.load(Path("data/photos/manifest.json")).eval
    by_lpips = sorted(range(len(crops)), key=lambda i: -float(rows[i]["student.lpips"]))
    shown = [*spread(range(len(crops)), SHOWN), *by_lpips[:WORST]]
    models = {n: load_model(Path("models") / n) for n in ("teacher", "pruned", "student")}
    record = RunRecord(
        scores=scores,
        costs=costs,
        curves=read_curves(Path("plots/distill/plots/metrics")),
        teacher=params.teacher.source,
        data=params.data.source,
        params=PARAMS.read_text(),
    )
    pictures = decode_pictures(models, [crops[i] for i in shown], [rows[i] for i in shown])
    with whole_file(Path("report/index.html")) as partial:
        partial.write_text(run_page(record, pictures, worst=WORST))


if __name__ == "__main__":
    with one_line_errors():
        main()
