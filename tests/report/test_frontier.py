"""The frontier's figure, from rows as the benchmark writes them."""

from __future__ import annotations

import pytest

from dcde.report.frontier import frontier_figure, measured


def row(recipe: str, size: str, seed: int, macs: float, gap: float) -> dict[str, str]:
    values = {"decoder_macs": macs, "lpips_gap": gap, "lpips_half": 0.002}
    values |= {"psnr_db_gap": -10 * gap, "psnr_db_half": 0.03}
    return {"recipe": recipe, "size": size, "seed": str(seed)} | {
        key: str(value) for key, value in values.items()
    }


def test_points_are_means_over_seeds_in_the_order_of_their_macs() -> None:
    rows = [
        row("ours", "20", 0, 0.2, 0.01),
        row("ours", "20", 1, 0.2, 0.03),
        row("ours", "12", 0, 0.12, 0.05),
        row("original", "34", 0, 0.34, 0.02),
    ]
    run = {"decoder_macs": 0.3, "lpips": 0.004, "psnr_db": -0.1}
    lpips, psnr = frontier_figure(rows, run).axes
    ours, original = lpips.containers
    assert ours.get_label() == "ours, evaluation crops"
    assert list(ours[0].get_xdata()) == pytest.approx([12, 20])
    assert list(ours[0].get_ydata()) == pytest.approx([0.05, 0.02])
    assert list(original[0].get_xdata()) == pytest.approx([34])
    assert list(psnr.containers[0][0].get_ydata()) == pytest.approx([-0.5, -0.2])
    assert list(psnr.lines[-1].get_xydata()[0]) == pytest.approx([30, -0.1])


def test_both_recipes_are_measured_at_every_size() -> None:
    found = {(r["recipe"], r["size"]) for r in measured()}
    assert found == {(r, s) for r in ("original", "ours") for s in ("34", "30", "20", "12", "8")}
    lpips, _ = frontier_figure(measured()).axes
    assert len(lpips.containers) == 4  # on the evaluation crops, and on photos of another kind
