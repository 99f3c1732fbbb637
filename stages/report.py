"""Show the run on one page: tables, pictures, charts, parameters."""

import json

from dcde.base import paths
from dcde.base.errors import one_line_errors
from dcde.base.files import whole_file
from dcde.base.results import read_table
from dcde.base.say import say, told
from dcde.data.manifest import Manifest
from dcde.data.spread import spread
from dcde.model.checkpoint import read_model
from dcde.params.file import load_params
from dcde.params.pipeline import Params
from dcde.report.charts import read_curves
from dcde.report.page import RunRecord, run_page
from dcde.report.pictures import decode_pictures

SHOWN, WORST = 6, 5


def main() -> None:
    params = load_params(paths.PARAMS, Params)
    rows, crops = read_table(paths.EVAL_IMAGES), Manifest.load(paths.MANIFEST).eval
    by_lpips = sorted(range(len(crops)), key=lambda i: -float(rows[i]["student.lpips"]))
    worst = by_lpips[:WORST]
    shown = [*(i for i in spread(range(len(crops)), SHOWN) if i not in worst), *worst]
    models = {name: read_model(folder) for name, folder in paths.MODELS.items()}
    say(f"{len(shown)} pictures by {len(models)} models")
    record = RunRecord(
        scores=read_table(paths.EVAL_SCORES),
        costs=read_table(paths.PROFILE_COSTS),
        decoding=read_table(paths.PROFILE_DECODING),
        profile=json.loads(paths.PROFILE_METRICS.read_text()),
        curves=read_curves(paths.DISTILL_PLOTS / "plots/metrics"),
        teacher=params.teacher.source,
        data=f"{params.data.source}, {len(crops)} crops for evaluation",
        params=paths.PARAMS.read_text(),
    )
    pictures = decode_pictures(models, [crops[i] for i in shown], [rows[i] for i in shown])
    with whole_file(paths.REPORT) as partial:
        partial.write_text(run_page(record, pictures, worst=len(worst)))


if __name__ == "__main__":
    with one_line_errors(), told("report"):
        main()
