"""Curves of a run that was killed: as they were when its state was saved."""

import json
from pathlib import Path

from dcde.train.progress import Progress


def log(folder: Path, steps: range) -> None:
    with Progress(
        folder, samples=10, samples_done=0, steps_done=steps.start, shown=True
    ) as progress:
        for step in steps:
            progress.log(step, {"loss/image": step / 10})


def test_a_kill_in_the_middle_of_writing_is_made_good(tmp_path: Path) -> None:
    log(tmp_path, range(4))
    curve = tmp_path / "plots/metrics/loss/image.tsv"
    whole = curve.read_text()
    curve.write_text(whole + "4")  # a row that was cut
    (tmp_path / "metrics.json").write_text("")  # a summary that was cut
    log(tmp_path, range(3, 5))  # the state was saved before step 3
    rows = [line.split("\t") for line in curve.read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == [0, 1, 2, 3, 4]
    assert json.loads((tmp_path / "metrics.json").read_text())["loss"]["image"] == 0.4
