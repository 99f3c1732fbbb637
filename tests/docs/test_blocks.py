"""Python blocks and quick `dcde` commands of the documents run.

A page's blocks run in its order, in a folder with models of the bundled teacher's kind and photos.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dcde.base.paths import MANIFEST, METRIC_NETWORKS, STUDENT, TEACHER
from dcde.commands.app import app
from dcde.data.crops import eval_crops
from dcde.data.folder import Photo
from dcde.data.manifest import Manifest
from dcde.model.checkpoint import save_model
from dcde.model.diffusers_peer import diffusers_model
from dcde.model.sources import load_model
from tests.helpers.markdown import PAGES, Block, Command, block_commands, blocks
from tests.helpers.sana import SETTINGS, diffusers, sana_pipeline
from tests.helpers.tiny import random_model

BUNDLED = "bundled:dc-ae-f16c16-photos"


def quick_commands(block: Block) -> list[Command]:
    """Return the block's `dcde` commands that need seconds and no hub."""
    return [
        command
        for command in block_commands(block)
        if command.words[0] == "dcde" and "onnx" not in command.words
        if {"eval", "export", "reconstruct", "--dry-run"} & set(command.words)
    ]


RUN = {
    page: found
    for page in PAGES
    if (
        found := [
            b for b in blocks(page) if b.runs and (b.language == "python" or quick_commands(b))
        ]
    )
}


class SmallSana(diffusers.SanaPipeline):
    """A pipeline that makes a small picture in few steps, whatever it is asked for."""

    def __call__(self, prompt: str, **options: Any) -> Any:
        return super().__call__(**SETTINGS | {"output_type": "pil", "prompt": prompt} | options)


@pytest.fixture
def place(
    photo_list: tuple[Photo, ...], networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder in which a page runs; the hub's pipelines come from its `sana/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    teacher = load_model(BUNDLED)
    cut = {"depths": (0, 1, 1, 1, 1), "inner_widths": (16, 8, 16, 128, 128)}
    decoder = teacher.config.decoder.model_copy(update=cut)
    save_model(teacher, TEACHER)
    save_model(random_model(teacher.config.model_copy(update={"decoder": decoder})), STUDENT)
    METRIC_NETWORKS.symlink_to(networks)
    sana_pipeline(diffusers_model(teacher)).save_pretrained("sana")
    picture = Image.open(photo_list[0].path).resize((160, 120))
    picture.save("photo.png")
    for name in ("photos", "more"):
        Path(name).mkdir()
        picture.save(f"{name}/one.png")
        picture.rotate(90).save(f"{name}/other.png")
    MANIFEST.parent.mkdir(parents=True)
    crops = [eval_crops(photo, 128, 1)[0] for photo in photo_list[:2]]
    Manifest(train=photo_list, eval=tuple(crops)).save(MANIFEST)

    load = diffusers.DiffusionPipeline.from_pretrained.__func__

    def from_hub(name: str, **options: Any) -> Any:
        assert name.count("/") == 1, "expected a repository of the hub"
        return load(SmallSana, "sana", **options)

    monkeypatch.setattr(diffusers.SanaPipeline, "from_pretrained", from_hub)
    return tmp_path


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_blocks_run(page: Path, place: Path) -> None:
    teacher = load_model(BUNDLED)
    names: dict[str, Any] = {
        "latent": torch.zeros(1, teacher.config.latent_channels, 8, 8),
        "model": teacher,
        "pipe": sana_pipeline(diffusers_model(teacher)),
    }
    for block in RUN[page]:
        if block.language == "python":
            with torch.no_grad():
                exec(compile(block.text, block.name, "exec"), names)
        for command in quick_commands(block):
            done = CliRunner().invoke(app, command.words[1:])
            assert done.exit_code == 0, f"{command}\n{done.output}"
