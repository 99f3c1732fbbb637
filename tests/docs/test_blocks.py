"""What the documents tell people to type works: Python whole, and commands that are quick.

A page's blocks run in its order, in one folder that has what the text names: models of the bundled
teacher's kind, photos, and what the blocks before have made. A block that can't run here says why,
in the line before it: `<!-- not run: why -->`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dcde.base.paths import MANIFEST, METRIC_NETWORKS, PRESETS, STUDENT, TEACHER
from dcde.commands.app import app
from dcde.data.crops import eval_crops
from dcde.data.folder import Photo
from dcde.data.manifest import Manifest
from dcde.model import DCAE, zoo_config
from dcde.model.checkpoint import save_model
from dcde.model.diffusers_peer import diffusers_model
from dcde.model.sources import load_model
from dcde.prune.cut_blocks import student_config
from dcde.prune.shape import narrow_config
from tests.helpers.markdown import PAGES, Block, Command, block_commands, blocks
from tests.helpers.sana import SETTINGS, diffusers, sana_pipeline
from tests.helpers.tiny import ROOT, randomize

QUICK = {"eval", "export", "reconstruct"}
BUNDLED = "bundled:dc-ae-f16c16-photos"


def is_quick(command: Command) -> bool:
    """Whether the test runs it: `dcde` commands that need seconds and no hub."""
    program, *arguments = command.words
    if program != "dcde" or "onnx" in arguments:
        return False
    return arguments[0] in QUICK or "--dry-run" in arguments


def runs(block: Block) -> bool:
    if block.not_run:
        return False
    return block.language == "python" or any(map(is_quick, block_commands(block)))


RUN = {page: found for page in PAGES if (found := [b for b in blocks(page) if runs(b)])}


class SmallSana(diffusers.SanaPipeline):
    """A pipeline for a hub's: whatever is asked for, a small picture in few steps."""

    def __call__(self, prompt: str, **options: Any) -> Any:
        return super().__call__(**SETTINGS | {"output_type": "pil", "prompt": prompt} | options)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory, photo_list: tuple[Photo, ...]) -> Path:
    """A folder with what the documents name."""
    folder = tmp_path_factory.mktemp("things")
    teacher = load_model(BUNDLED)
    config = narrow_config(
        student_config(zoo_config("dc-ae-f16c16-photos"), (0, 1, 1, 1, 1)),
        None,
        (1, 0.25, 0.25, 0.25, 0.25),
    )
    student = DCAE(config)
    randomize(student)
    save_model(teacher, folder / TEACHER)
    save_model(student.eval(), folder / STUDENT)
    sana_pipeline(diffusers_model(teacher)).save_pretrained(folder / "sana")
    shutil.copytree(ROOT / PRESETS, folder / PRESETS)
    picture = Image.open(photo_list[0].path).resize((160, 120))
    picture.save(folder / "photo.png")
    for name in ("photos", "more"):
        (folder / name).mkdir()
        picture.save(folder / name / "one.png")
        picture.rotate(90).save(folder / name / "other.png")
    (folder / MANIFEST).parent.mkdir(parents=True)
    crops = [eval_crops(photo, 128, 1)[0] for photo in photo_list[:2]]
    Manifest(train=photo_list, eval=tuple(crops)).save(folder / MANIFEST)
    return folder


@pytest.fixture
def place(
    things: Path, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A copy of these, in which a page runs; what comes from the hub comes from `sana/`."""
    place = tmp_path / "place"
    shutil.copytree(things, place)
    (place / METRIC_NETWORKS).symlink_to(networks)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    load = diffusers.DiffusionPipeline.from_pretrained.__func__

    def from_hub(name: str, **options: Any) -> Any:
        assert name.count("/") == 1, "expected a repository of the hub"
        pipe = load(SmallSana, "sana", **options)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    monkeypatch.setattr(diffusers.SanaPipeline, "from_pretrained", from_hub)
    yield place


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_blocks_run(page: Path, place: Path) -> None:
    teacher = load_model(BUNDLED)
    names: dict[str, Any] = {
        "latent": torch.zeros(1, teacher.config.latent_channels, 8, 8),
        "model": teacher,
    }
    if any("pipe." in block.text for block in RUN[page]):
        names["pipe"] = sana_pipeline(diffusers_model(teacher))
    for block in RUN[page]:
        if block.language == "python":
            with torch.no_grad():
                exec(compile(block.text, str(block), "exec"), names)
        else:
            for command in filter(is_quick, block_commands(block)):
                done = CliRunner().invoke(app, command.words[1:])
                assert done.exit_code == 0, f"{command}\n{done.output}"
                assert done.exception is None
