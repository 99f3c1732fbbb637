"""Write tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SCORES = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "fid": "FID",
    "fd_lite0": "fd_lite0",
}
"""Scores and their names in tables, in order."""


def score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Tabulate the scores of models."""
    shown = [key for key in SCORES if any(key in values for values in scores.values())]
    rows = [["model", *(SCORES[key] for key in shown)]]
    for name, values in scores.items():
        rows.append([name, *(f"{values[key]:.4g}" if key in values else "" for key in shown)])
    return markdown_table(rows)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Align the columns of rows; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
