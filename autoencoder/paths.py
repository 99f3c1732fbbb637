"""Paths of the pipeline in autoencoder/, from the repository's root."""

from pathlib import Path

from dcde.metrics.lpips import LPIPS_ALEX

ROOT = Path("autoencoder")
PIPELINE, PARAMS = ROOT / "dvc.yaml", ROOT / "params.yaml"

MANIFEST = ROOT / "data/photos/manifest.json"
METRIC_NETWORKS = ROOT / "models/metric_networks"
LPIPS = METRIC_NETWORKS / LPIPS_ALEX

START = ROOT / "models/start"
PHASES = ("phase1", "phase2", "phase3")
MODELS = {phase: ROOT / "models" / phase for phase in PHASES}
BEFORE = dict(zip(PHASES, (START, *MODELS.values()), strict=False))
"""The model that each phase starts from."""
TRAINED = MODELS["phase3"]

PLOTS, SAMPLES = ROOT / "plots", ROOT / "samples"
EVAL_METRICS = ROOT / "metrics/eval.json"
