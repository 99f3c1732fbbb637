"""Inputs and outputs of the pipeline's stages, relative to the repository's root.

`dvc.yaml` names the same paths; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from dcde.base.errors import UserError

PARAMS = Path("params.yaml")
PRESETS = Path("presets")

PHOTOS = Path("data/photos")
MANIFEST = PHOTOS / "manifest.json"

METRIC_NETWORKS = Path("models/metric_networks")
LPIPS = METRIC_NETWORKS / "lpips_alex.safetensors"

TEACHER = Path("models/teacher")
PRUNED = Path("models/pruned")
STUDENT = Path("models/student")
MODELS = {"teacher": TEACHER, "pruned": PRUNED, "student": STUDENT}
"""The models to compare, by their names in tables."""

PRUNE_METRICS = Path("metrics/prune.json")
PRUNE_PLOTS = Path("plots/prune")

DISTILL_PLOTS = Path("plots/distill")
DISTILL_SAMPLES = Path("plots/distill_samples")

EVAL_METRICS = Path("metrics/eval.json")
EVAL_PLOTS = Path("plots/eval")
EVAL_SCORES = EVAL_PLOTS / "scores.csv"
EVAL_IMAGES = EVAL_PLOTS / "images.csv"

PROFILE_METRICS = Path("metrics/profile.json")
PROFILE_PLOTS = Path("plots/profile")
PROFILE_COSTS = PROFILE_PLOTS / "costs.csv"
PROFILE_DECODING = PROFILE_PLOTS / "decoding.csv"

REPORT = Path("report/index.html")
EXPERIMENTS_REPORT = Path("report/experiments.html")


def check_not_made(source: str, field: str) -> None:
    """Reject a model to start from that the pipeline itself overwrites.

    Raises:
        UserError: saying what to do.
    """
    if Path(source).resolve() in (folder.resolve() for folder in MODELS.values()):
        raise UserError(
            f"{field}: found {source}, which this pipeline overwrites: copy it "
            f"(`cp -r {source} my-model`) and name the copy"
        )
