"""A model as a repository of the hub: its files, and a card that tells where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from dcde.checkpoint import Layout, load_model, write_model
from dcde.files import whole_folder
from dcde.model import DCAEConfig
from dcde.model.diffusers_format import config_to_diffusers
from dcde.reports import markdown_table, score_table

RECIPE = ("seed", "prune", "distill", "loss", "gan", "optimizer", "optimizer_d")
"""Sections of params.yaml that make a student."""
UNSTATED = "Not stated. That of the model it was made from may bind it."


def write_repository(source: Path, folder: Path, *, repo: str, licence: str | None) -> None:
    """Write weights and config.json, in diffusers' layout where it can express them, and README.md.

    Args:
        source: A model's folder. If that is `models/<name>` of a pipeline, the card tells the
            pipeline's metrics and parameters.
        folder: Appears whole or not at all.
        repo: `<owner>/<name>` on the hub.
        licence: The hub's identifier of a licence.

    Raises:
        UserError: if the model can't be read.
    """
    model = load_model(source)
    layout: Layout = "diffusers"
    try:
        config_to_diffusers(model.config)
    except ValueError:
        layout = "safetensors"
    with whole_folder(folder) as partial:
        write_model(model, partial, layout)
        (partial / "README.md").write_text(_card(model.config, repo, layout, source, licence))


def _card(config: DCAEConfig, repo: str, layout: Layout, source: Path, licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    models, name = source.resolve().parent, source.name
    made = models.name == "models" and (models.parent / "params.yaml").is_file()
    params = yaml.safe_load((models.parent / "params.yaml").read_text()) if made else {}
    teacher = params.get("teacher", {}).get("source", "")
    base = teacher.removeprefix("hf:").partition("@")[0] if teacher.startswith("hf:") else None
    metadata = ModelCardData(
        base_model=base,
        library_name="diffusers" if layout == "diffusers" else "dcde",
        license=licence,
        pipeline_tag="image-to-image",
        tags=["dc-ae", "autoencoder"],
    )
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {repo}",
        _description(config),
        *(_figures(models.parent / "metrics", name) if made else []),
        _loading(config, repo, layout),
        *([_recipe(params, teacher)] if made else []),
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


def _figures(metrics: Path, name: str) -> list[str]:
    """Tables of the teacher and this model, from those metrics that are there."""
    sections = []
    scores, costs = (_read(metrics / file) for file in ("eval.json", "profile.json"))
    rows = dict.fromkeys(("teacher", name))
    if name in scores:
        sections.append(
            f"## Scores\n\nOn {scores['images']} images, rounded to uint8.\n\n"
            + score_table({row: scores[row] for row in rows if row in scores})
        )
    if name in costs:
        table = [["decoder", "parameters", "multiply-accumulates"]]
        for row in rows:
            if row in costs:
                cost = costs[row]
                macs = f"{cost['decoder_macs'] / 1e9:.4g} G"
                table.append([row, f"{cost['decoder_params'] / 1e6:.4g} M", macs])
        px = costs["macs_resolution"]
        sections.append(f"## Costs\n\nOf one image of {px} px.\n\n" + markdown_table(table))
    return sections


def _loading(config: DCAEConfig, repo: str, layout: Layout) -> str:
    ours = f"""```python
from dcde.sources import load_source

model = load_source("hf:{repo}")
image = model.decode(latent)  # (B, {config.latent_channels}, h, w), not scaled
```"""
    if layout != "diffusers":
        lack = "diffusers' `AutoencoderDC` can't express this model"
        if config.decoder.inner_widths is None:
            return f"## Load it\n\n{lack}.\n\n{ours}"
        narrowed = "`dcde.peer.diffusers_model(model)` makes an instance of it that can decode"
        return f"## Load it\n\n{ours}\n\n{lack} in its config.json; {narrowed}."
    theirs = f"""```python
from diffusers import AutoencoderDC

vae = AutoencoderDC.from_pretrained("{repo}")
image = vae.decode(latent).sample
```"""
    return f"## Load it\n\n{theirs}\n\nWith DCDE:\n\n{ours}"


def _recipe(params: dict[str, Any], teacher: str) -> str:
    sections = {key: params[key] for key in RECIPE if key in params}
    text = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None).strip()
    about = f"Teacher: `{teacher}`. Pruned and distilled by DCDE:"
    return f"## Recipe\n\n{about}\n\n```yaml\n{text}\n```"


def _read(path: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return metrics
