"""How much memory does the full-size distillation take?

    python -m benchmarks.memory

Counted, not measured, see `dcde.distill.memory`: a step with the recipe of preset w4-v25.
"""

from __future__ import annotations

import yaml

from dcde.base.params import Params
from dcde.base.params_file import validate
from dcde.base.paths import PARAMS, PRESETS
from dcde.base.recipe import Recipe
from dcde.commands.preset import merge, read_preset
from dcde.distill.memory import step_bytes
from dcde.model import zoo_config
from dcde.report.tables import markdown_table

TEACHER, STUDENT = "dc-ae-f32c32-in-1.0", "dc-ae-f32c32-in-1.0-w4-v3"
PRESET = "w4-v25"


def peak_gib(recipe: Recipe, *, batch_size: int, precision: str, checkpoint: bool) -> float:
    """Of a step of w4-v3 with these settings."""
    changes = {
        "batch_size": batch_size,
        "precision": precision,
        "checkpoint_activations": checkpoint,
    }
    changed = recipe.model_copy(update={"distill": recipe.distill.model_copy(update=changes)})
    return step_bytes(zoo_config(STUDENT), zoo_config(TEACHER), changed) / 2**30


def full_size_recipe() -> Recipe:
    """Of the preset, on top of the committed parameters."""
    changes = read_preset(PRESETS, PRESET)
    return validate(merge(yaml.safe_load(PARAMS.read_text()), changes), Params, where=PRESET)


def main() -> None:
    recipe = full_size_recipe()
    rows = [["precision", "checkpoint_activations", "batch", "GiB"]]
    for precision in ("fp32", "bf16"):
        for checkpoint in (False, True):
            for batch_size in (4, 8):
                peak = peak_gib(
                    recipe, batch_size=batch_size, precision=precision, checkpoint=checkpoint
                )
                rows.append([precision, str(checkpoint).lower(), str(batch_size), f"{peak:.1f}"])
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
