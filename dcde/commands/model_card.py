"""Write a model as a repository for the hub, with a card that says how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from dcde.base.files import whole_folder
from dcde.base.paths import EVAL_IMAGES, EVAL_METRICS, PARAMS, PROFILE_COSTS
from dcde.base.results import read_table
from dcde.model import DCAEConfig
from dcde.model.checkpoint import read_model, write_model
from dcde.model.diffusers_format import CLASS, NARROW_MODULE
from dcde.model.hub import repository
from dcde.report.tables import markdown_table, score_table

MADE_BY = {
    "teacher": ("download_teacher",),
    "pruned": ("download_teacher", "prune"),
    "student": ("download_teacher", "prune", "distill"),
}
"""The stages that make each model of a pipeline."""
LOCK = Path("dvc.lock")
NARROW_NOTE = (
    "The decoder's blocks have fewer channels inside than diffusers' `AutoencoderDC` supports. Its "
    f"subclass in this repository's `{NARROW_MODULE}.py` needs `trust_remote_code` and diffusers "
    "0.36 or later.\n\n"
)
UNSTATED = "Not stated. The licence of the model it was made from may apply."


def write_repository(source: Path, folder: Path, *, repo: str, licence: str | None) -> None:
    """Write weights and config.json in diffusers' layout, and README.md.

    Args:
        source: a model's folder. For `models/<name>` of a pipeline, the card has the pipeline's
            metrics and parameters.
        folder: appears whole or not at all.
        repo: `<owner>/<name>` on the hub.
        licence: the hub's identifier for it.

    Raises:
        UserError: if the model can't be read.
    """
    model = read_model(source)
    with whole_folder(folder) as partial:
        write_model(model, partial, "diffusers")
        (partial / "README.md").write_text(_card(model.config, repo, source, licence))


def _card(config: DCAEConfig, repo: str, source: Path, licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    models, name = source.resolve().parent, source.name
    made = models.name == "models" and name in MADE_BY and (models.parent / LOCK).is_file()
    params = _run_params(models.parent, name) if made else {}
    teacher = params.get("teacher", {}).get("source", "")
    metadata = ModelCardData(
        base_model=repository(teacher),
        library_name="diffusers",
        license=licence,
        pipeline_tag="image-to-image",
        tags=["dc-ae", "autoencoder"],
    )
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {repo}",
        _description(config),
        *(_figures(models.parent, name) if made else []),
        _loading(config, repo),
        *([_recipe(params, teacher)] if "prune" in params else []),
        f"## Licence\n\n{licence or UNSTATED}",
    ]
    return "\n\n".join(sections) + "\n"


def _description(config: DCAEConfig) -> str:
    f, decoder = config.downsampling, config.decoder
    return (
        "A [Deep Compression AutoEncoder](https://arxiv.org/abs/2410.10733): images in [-1, 1], "
        f"sides multiples of {f}, to {config.latent_channels} latent channels at 1/{f} of their "
        f"size, and back. Architecture `{config.name}`, decoder depths {list(decoder.depths)}, "
        f"widths {list(decoder.widths)}, scaling factor {config.scaling_factor:g}."
    )


def _figures(root: Path, name: str) -> list[str]:
    """Return tables of the teacher and this model, from the results that exist."""
    sections = []
    models = dict.fromkeys(("teacher", name))
    if (root / EVAL_METRICS).is_file() and (root / EVAL_IMAGES).is_file():
        scores = json.loads((root / EVAL_METRICS).read_text())
        count = len(read_table(root / EVAL_IMAGES))
        table = score_table({model: scores[model] for model in models})
        sections.append(f"## Scores\n\nOn {count} images, rounded to uint8.\n\n{table}")
    if (root / PROFILE_COSTS).is_file():
        costs = [row for row in read_table(root / PROFILE_COSTS) if row["model"] in models]
        cells = [["decoder", "parameters", "multiply-accumulates"]]
        for row in costs:
            macs, params = (int(row[key]) for key in ("decoder_macs", "decoder_params"))
            cells.append([row["model"], f"{params / 1e6:.4g} M", f"{macs / 1e9:.4g} G"])
        px = costs[0]["resolution_px"]
        sections.append(f"## Costs\n\nFor one image of {px} px.\n\n{markdown_table(cells)}")
    return sections


def _loading(config: DCAEConfig, repo: str) -> str:
    ours = f"""```python
import dcde

model = dcde.load_model("hf:{repo}")
image = model.decode(latent)  # (B, {config.latent_channels}, h, w), not scaled
```"""
    if config.decoder.inner_widths is None:
        code, note = CLASS, ""
        load = f'{CLASS}.from_pretrained("{repo}")'
    else:
        code, note = "AutoModel", NARROW_NOTE
        load = f'AutoModel.from_pretrained("{repo}", trust_remote_code=True)'
    theirs = f"""```python
from diffusers import {code}

vae = {load}
image = vae.decode(latent).sample
```"""
    return f"## Load it\n\n{theirs}\n\n{note}With DCDE:\n\n{ours}"


def _run_params(root: Path, name: str) -> dict[str, Any]:
    """Return the parameters that made a model, from dvc.lock: params.yaml may have changed."""
    stages = yaml.safe_load((root / LOCK).read_text())["stages"]
    made: dict[str, Any] = {}
    for stage in MADE_BY[name]:
        made |= stages.get(stage, {}).get("params", {}).get(PARAMS.name, {})
    return made


def _recipe(params: dict[str, Any], teacher: str) -> str:
    sections = {key: value for key, value in params.items() if key != "teacher"}
    text = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None).strip()
    about = f"Teacher: `{teacher}`. Pruned and distilled by DCDE:"
    return f"## Recipe\n\n{about}\n\n```yaml\n{text}\n```"
