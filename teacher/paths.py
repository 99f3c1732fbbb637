"""Where the teacher's pipeline leaves what it makes, from the repository's root."""

from pathlib import Path

ROOT = Path("teacher")
PIPELINE, PARAMS = ROOT / "dvc.yaml", ROOT / "params.yaml"

TRAINED = ROOT / "models/trained"
DECODER = ROOT / "models/decoder"
REFINED = ROOT / "models/refined"
PUBLISHED = ROOT / "models/published"

PLOTS = ROOT / "plots"
METRICS = ROOT / "metrics.json"
