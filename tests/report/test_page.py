"""The contents of a run's page."""

import re
import subprocess
import sys

from dcde.report.page import RunRecord, results_table, run_page
from tests.helpers.tiny import ROOT


def record() -> RunRecord:
    """A run whose figures are easy to find again."""
    names, means = ("teacher", "pruned", "student"), ("27.284", "106.36", "0.2")
    columns = ("model", "score", "mean", "low", "high")
    rows = [
        (name, score, mean, "", "")
        for name in names
        for score, mean in zip(("psnr_db", "fd_lite0", "lpips"), means, strict=True)
    ]
    rows[0] = ("teacher", "psnr_db", "27.284", "24.56", "30.12")
    rows += [
        ("gap", "psnr_db", "-0.078", "-0.1284", "-0.0292"),
        ("gap", "fd_lite0", "4.465", "", ""),
        ("gap", "lpips", "0.01", "-0.1284", "-0.0292"),
    ]
    scores = [dict(zip(columns, row, strict=True)) for row in rows]
    timed = {"resolution_px": "512", "device": "a CPU", "images_per_s": "25.0"}
    timed |= {"latency_ms": "40.04", "latency_p10_ms": "39.0", "latency_p90_ms": "44.0"}
    counted = {"decoder_macs": "2000000000", "decoder_params": "3000000"}
    return RunRecord(
        scores=scores,
        costs=[{"model": n, **counted} for n in names],
        decoding=[{"model": n, "way": "plain", "peak_memory_mib": "", **timed} for n in names],
        profile={"student": {"decoder_macs_saved_percent": 70.0, "latency_over_teacher": 0.381}},
        curves={"loss/image": ([0.0, 2.0], [0.5, 0.25]), "validation/lpips": ([2.0], [0.2])},
        teacher="bundled:some",
        data="embedded, 4 crops",
        params="seed: 0",
    )


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]


def test_results_table_has_costs_scores_and_the_gap_with_intervals() -> None:
    head, teacher, _, student, gap = cells(results_table(record()))
    assert head[1:5] == ["decoder MACs", "decoder weights", "decoding time", "PSNR dB"]
    assert teacher[:5] == ["teacher", "2.00 G", "3.00 M", "1", "27.28\n[24.56, 30.12]"]
    assert student[3:5] == ["0.38", "27.28"] and student[-1] == "106.4"
    assert gap == ["gap", "", "", "", "-0.078\n[-0.13, -0.029]", "+0.01\n[-0.13, -0.029]", "+4.5"]


def test_page_of_a_run_has_its_timings_curves_and_parameters() -> None:
    page = run_page(record(), [], worst=0)
    assert "decodes with 30.0% of the teacher" in page
    assert ["student", "plain", "512", "40.0", "39.0 to 44.0", "25.0", ""] in cells(page)
    for shown in ("validation/lpips", "bundled:some", "embedded, 4 crops", "a CPU", "seed: 0"):
        assert shown in page


def test_page_is_the_same_in_every_process() -> None:
    """The file's hash is in dvc.lock, so that ids of charts must not be random."""
    script = "from tests.report.test_page import *; print(run_page(record(), [], worst=0))"
    page = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    assert page == run_page(record(), [], worst=0) + "\n"
