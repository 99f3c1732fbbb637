"""Models by the names that users give them: checked, and clear about what was expected."""

import shutil
from pathlib import Path

import pytest
import skimage
import torch

import dcde
from dcde.base.errors import UserError
from dcde.data.pixels import to_model_range
from dcde.metrics.pictures import mean_psnr_db
from dcde.model import DCAE, zoo_config
from dcde.model.checkpoint import save_model
from dcde.model.sources import ASSETS, load_model, read_made, record_source


@pytest.mark.parametrize("kind", [str, Path])
def test_the_package_takes_text_and_paths(kind: type, tiny_model: DCAE, tmp_path: Path) -> None:
    folder = kind(tmp_path / "model")
    dcde.save_model(tiny_model, folder)
    assert dcde.load_model(folder).config == tiny_model.config


def test_a_teacher_whose_folder_changed_is_refused(tiny_model: DCAE, tmp_path: Path) -> None:
    folder, copy = tmp_path / "model", tmp_path / "copy"
    for place in (folder, copy):
        save_model(tiny_model, place)
    record_source(str(folder), "teacher.source", "download_teacher", copy)
    read_made(copy)
    with torch.no_grad():
        next(tiny_model.decoder.parameters()).add_(1)
    save_model(tiny_model, folder)
    with pytest.raises(UserError, match=r"teacher\.source: .*model/model.safetensors has changed"):
        read_made(copy)
    (folder / "model.safetensors").unlink()
    read_made(copy)  # which is whole
    record_source("bundled:dc-ae-f16c16-photos", "prune.start", "prune", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json"]


def test_a_teacher_whose_link_leads_elsewhere_is_refused(
    tiny_model: DCAE, tmp_path: Path, in_folder: Path
) -> None:
    """Even if the weights there have the same size and time."""
    save_model(tiny_model, tmp_path / "v1")
    shutil.copytree(tmp_path / "v1", tmp_path / "v2", copy_function=shutil.copy2)
    link, copy = tmp_path / "current", tmp_path / "copy"
    link.symlink_to("v1")
    shutil.copytree(link, copy)
    record_source("current", "teacher.source", "download_teacher", copy)
    read_made(copy)
    link.unlink()
    read_made(copy)  # another machine may not have the link
    link.symlink_to("v2")
    expected = r"^teacher\.source: .*/current/model\.safetensors has changed since"
    with pytest.raises(UserError, match=expected):
        read_made(copy)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "bundled:other",
            "found 'bundled:other', expected bundled:<name> with dc-ae-f16c16",
        ),
        ("no/such/folder", "expected bundled:<name>, hf:<owner>/<name>"),
        ("hf:not a repo", "hf:not a repo: expected hf:<owner>/<name>"),
    ],
)
def test_bad_source_is_named(source: str, message: str) -> None:
    with pytest.raises(UserError, match=f"--model: .*{message}"):
        load_model(source, "--model")


@pytest.mark.parametrize("name", sorted(path.stem for path in ASSETS.glob("*.md")))
@torch.no_grad()
def test_a_bundled_teacher_reconstructs_photos(name: str) -> None:
    model = load_model(f"bundled:{name}")
    assert model.config == zoo_config(name)
    photos = [
        torch.from_numpy(photo()[:256, :256])
        for photo in (skimage.data.astronaut, skimage.data.chelsea)
    ]
    originals = [to_model_range(photo.permute(2, 0, 1))[None] for photo in photos]
    assert mean_psnr_db([model(image) for image in originals], originals) > 25
