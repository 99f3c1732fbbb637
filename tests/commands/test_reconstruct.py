"""`dcde reconstruct`: any picture beside its reconstructions, or a clear error and no file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from dcde.base.errors import UserError
from dcde.base.paths import METRIC_NETWORKS
from dcde.commands.app import app
from dcde.commands.reconstruct import reconstruct, write_reconstructions
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.model.checkpoint import save_model
from tests.helpers.profiles import DISPLAY_P3
from tests.helpers.tiny import SKIMAGE_DATA


@pytest.fixture(scope="module")
def lpips_metric(networks: Path) -> nn.Module:
    return load_lpips(networks / "lpips_alex.safetensors")


def noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def test_any_size_comes_back_with_its_edges_repeated(tiny_model: DCAE) -> None:
    for size in ((8, 8), (1, 1), (67, 45)):
        assert reconstruct(tiny_model, noise(*size)).shape == (3, *size)
    picture = noise(16, 13)
    padded = torch.cat([picture, picture[:, :, -1:].expand(-1, -1, 3)], dim=2)
    assert torch.equal(reconstruct(tiny_model, picture), reconstruct(tiny_model, padded)[:, :, :13])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with one picture of each awkward kind, and one in a folder below."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    photo = Image.open(SKIMAGE_DATA / "chelsea.png").resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "phone.jpg", exif=exif)
    photo.convert("L").save(folder / "grey.png")
    photo.convert("RGBA").save(folder / "alpha.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.full((40, 60), 40_000, np.uint16)).save(folder / "deep.png")
    photo.save(folder / "moving.webp", save_all=True, append_images=[photo.rotate(90)])
    photo.resize((8, 8)).save(folder / "below/dot.png")
    Image.new("RGB", (60, 40), (200, 100, 50)).save(folder / "wide.png", icc_profile=DISPLAY_P3)
    return folder


def test_a_folder_of_all_kinds(
    pictures: Path, tmp_path: Path, tiny_model: DCAE, lpips_metric: nn.Module
) -> None:
    out = tmp_path / "out"
    models = {"teacher": tiny_model, "student": tiny_model}
    write_reconstructions(models, [pictures], out, lpips_metric)
    names = {"phone", "grey", "alpha", "cmyk", "deep", "moving", "below/dot", "wide"}
    sheets = [out / f"{name}.png" for name in names]
    singles = [out / f"single/{n}/{v}.png" for n in names for v in ("input", "teacher", "student")]
    assert {p for p in out.rglob("*.*")} == {*sheets, *singles, out / "index.html"}
    for path in sheets:
        with Image.open(path) as sheet:
            assert sheet.width >= 3 * 150  # three columns, each wide enough for its caption
    with Image.open(out / "deep.png") as sheet:
        assert sheet.getpixel((30, 40)) == (156, 156, 156)  # 40,000 / 257
    with Image.open(out / "phone.png") as sheet:
        assert sheet.height == 60 + 24
    with Image.open(out / "single/phone/student.png") as single:
        assert single.size == (40, 60)
    with Image.open(out / "single/wide/input.png") as single:
        assert "icc_profile" not in single.info
        assert single.getpixel((0, 0)) == (215, 93, 31)  # of Display P3's, in sRGB


def test_the_page_compares_the_files_beside_it(
    pictures: Path, tmp_path: Path, tiny_model: DCAE, lpips_metric: nn.Module, browser: Any
) -> None:
    """Of large pictures too it stays small; a name may have what means something in a URL."""
    odd, out = pictures / "a #1?%20.png", tmp_path / "out"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 1500, 3), np.uint8)).save(odd)
    paths = write_reconstructions({"model": tiny_model}, [odd, pictures], out, lpips_metric)
    assert paths[-1] == out / "index.html" and paths[-1].stat().st_size < 20_000
    browser.set_window_size(1400, 900)
    browser.get(paths[-1].as_uri())
    browser.find_element("tag name", "body").send_keys("nnp")
    for place in ("over", "under"):
        browser.execute_script(f"return document.getElementById('{place}').decode()")
        assert browser.find_element("id", place).get_property("naturalWidth") == 60
    browser.find_element("tag name", "body").send_keys("p")
    browser.execute_script("return document.getElementById('over').decode()")
    shown = browser.find_element("id", "over").rect
    assert 500 < shown["width"] < 560
    assert shown["width"] / shown["height"] == pytest.approx(1500 / 700, rel=0.01)
    assert browser.find_element("id", "caption").text.startswith(f"{odd}; input: 1500 x 700; model")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_can_not_be_written_is_named_first(
    pictures: Path, tmp_path: Path, tiny_model: DCAE, lpips_metric: nn.Module
) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    for name in ("phone.jpg", "grey.jpg", "single/grey/model.png"):
        (tmp_path / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "more" / name).write_bytes((pictures / "phone.jpg").read_bytes())
    (tmp_path / "cut.jpg").write_bytes((pictures / "phone.jpg").read_bytes()[:600])
    file.write_text("kept")
    for images, folder, message in (
        ([pictures, tmp_path / "cut.jpg"], out, r"cut\.jpg: not a readable image"),
        ([pictures, tmp_path / "more"], out, r"grey\.png and .*/grey\.jpg would both be written"),
        ([tmp_path / "more"], out, r"would both be written to .*single/grey/model\.png"),
        ([pictures / "grey.png"], pictures, r"grey\.png: would replace an original"),
        ([Path("nowhere")], out, "nowhere: not found, expected an image or a folder"),
        ([pictures], file / "out", r"--out: can't write in .*/file \(Not a directory\)"),
        ([pictures], file, "--out: found .*/file, which is a file, expected a folder"),
    ):
        with pytest.raises(UserError, match=message):
            write_reconstructions({"model": tiny_model}, images, folder, lpips_metric)
    assert not out.exists() and file.read_text() == "kept"


def test_command_shows_the_pipelines_teacher_and_student(
    pictures: Path, in_folder: Path, networks: Path, tiny_model: DCAE
) -> None:
    for name in ("teacher", "student"):
        save_model(tiny_model, Path("models") / name)
    METRIC_NETWORKS.symlink_to(networks)
    runner = CliRunner()
    command = ["reconstruct", str(pictures / "grey.png"), "--out", "out"]
    widths = []
    for more in ([], ["--model", "bundled:dc-ae-f16c16-photos"]):
        done = runner.invoke(app, [*command, *more])
        assert done.exit_code == 0 and done.stdout == "out/grey.png\nout/index.html\n"
        with Image.open("out/grey.png") as sheet:
            widths.append(sheet.width)
    assert widths[0] > widths[1]  # three columns, then two
    done = runner.invoke(app, [*command, "--teacher", "nowhere"])
    assert done.exit_code == 1
    assert "error: --teacher: found 'nowhere', expected bundled:<name>" in done.output
