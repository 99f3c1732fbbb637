"""Models for other programs: what they load decodes as ours does, or the refusal says why."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from dcde.base.errors import UserError
from dcde.commands.app import app
from dcde.commands.onnx import export_onnx
from dcde.model import DCAE, DCAEConfig, zoo_config
from dcde.model.blocks import LiteMLA
from dcde.model.checkpoint import read_model, save_model
from dcde.model.spec import HEAD_DIM
from tests.helpers.distill_run import same_weights
from tests.helpers.markdown import blocks
from tests.helpers.peers import relative_error, scaled_down
from tests.helpers.tiny import ROOT, model_of, random_model, tiny_config

TEACHER = "dc-ae-f32c32-in-1.0"
LIKE = {
    "in": lambda: scaled_down("dc-ae-f32c32-in-1.0", 32),
    "sana": lambda: scaled_down("dc-ae-f32c32-sana-1.0", 32),
    "lite": lambda: scaled_down("dc-ae-lite-f32c32", 32),
    "f16c16": lambda: zoo_config("dc-ae-f16c16-photos"),
    "pruned": lambda: zoo_config("dc-ae-f16c16-photos").with_decoder_depths((0, 1, 2, 1, 1), "x"),
}


@pytest.mark.parametrize("like", LIKE)
@torch.no_grad()
def test_diffusers_loads_it_and_decodes_the_same(like: str, tmp_path: Path, caplog: Any) -> None:
    diffusers = pytest.importorskip("diffusers")
    ours = random_model(LIKE[like]())
    save_model(ours, tmp_path / "model", "diffusers")
    theirs, info = diffusers.AutoencoderDC.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not any(info.values()), info
    assert "not expected" not in caplog.text
    config = ours.config
    assert theirs.config.scaling_factor == config.scaling_factor
    latent = torch.randn(2, config.latent_channels, 3, 5)
    image = torch.randn(1, 3, 2 * config.downsampling, 3 * config.downsampling)
    assert relative_error(ours.decode(latent), theirs.decode(latent).sample) < 1e-5
    assert relative_error(ours.encode(image), theirs.encode(image).latent) < 1e-5
    back = read_model(tmp_path / "model")
    assert back.config == config
    assert same_weights(back, ours)


@pytest.mark.parametrize(
    ("config", "one_file_bytes"),
    [
        pytest.param(tiny_config(), 1_000_000, marks=pytest.mark.slow),
        (model_of("RES", upsample="InterpolateConv").config, 1000),
    ],
)
@torch.no_grad()
def test_onnx_decodes_the_same_at_any_size(
    config: DCAEConfig, one_file_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the weights are too large for one file, which lies in the folder too then."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("dcde.commands.onnx.ONE_FILE_BYTES", one_file_bytes)
    model = random_model(config)
    export_onnx(model, tmp_path / "student-onnx")
    files = {"encoder.onnx", "decoder.onnx", "config.json"}
    if one_file_bytes == 1000:
        files |= {"encoder.onnx.data", "decoder.onnx.data"}
    assert {p.name for p in (tmp_path / "student-onnx").iterdir()} == files
    for part, field in (("decoder", "latent"), ("encoder", "image")):
        session = onnxruntime.InferenceSession(tmp_path / f"student-onnx/{part}.onnx")
        for batch, height, width in ((1, 1, 2), (3, 2, 2), (1, 7, 12)):
            f = model.config.downsampling
            size = (model.config.latent_channels, height, width)
            x = torch.randn(batch, *((3, height * f, width * f) if part == "encoder" else size))
            (theirs,) = session.run(None, {field: x.numpy()})
            ours = getattr(model, part)(x).numpy()
            assert np.abs(theirs - ours).max() <= 1e-4 * np.abs(ours).max()
    # What docs/loading.md shows, for a model of other channels.
    (shown,) = (b for b in blocks(ROOT / "docs/loading.md") if "onnxruntime" in b.text)
    channels, f = model.config.latent_channels, model.config.downsampling
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(shown.text.replace("(1, 16, ", f"(1, {channels}, "), names)
    assert names["image"].shape == (1, 3, 12 * f, 20 * f)


def test_onnx_that_divides_by_zero_or_without_packages_writes_nothing(
    tiny_model: DCAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the graph of the published formula does: torch's exporter drops what it adds."""
    pytest.importorskip("onnxscript")

    def published(qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = qkv.unflatten(1, (-1, 3, HEAD_DIM)).flatten(4).unbind(2)
        kv = F.pad(v, (0, 0, 0, 1), value=1.0) @ F.relu(k).transpose(-1, -2)
        out = kv @ F.relu(q)
        return (out[:, :, :-1] / (out[:, :, -1:] + 1e-15)).reshape(len(qkv), -1, *qkv.shape[2:])

    monkeypatch.setattr("dcde.model.blocks._attention", published)
    (attention,) = (m for m in tiny_model.encoder.modules() if isinstance(m, LiteMLA))
    attention.qkv.conv.weight.data[32:64] = 0  # all keys
    with pytest.raises(UserError, match="encoder's graph differs from the model by nan"):
        export_onnx(tiny_model, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed; `pip install 'dcde\[onnx"):
        export_onnx(tiny_model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_command_writes_a_new_folder_only(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model")
    command = ["export", "--format", "diffusers", "--model", str(tmp_path / "model"), "--out"]
    runner = CliRunner()
    assert runner.invoke(app, [*command, str(tmp_path / "new")]).exit_code == 0
    assert read_model(tmp_path / "new").config == tiny_model.config
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("keep")
    done = runner.invoke(app, [*command, str(tmp_path / "notes")])
    assert done.exit_code == 1
    assert "expected a new or empty folder" in done.stderr and len(done.stderr.splitlines()) == 1
    assert (tmp_path / "notes/mine.txt").read_text() == "keep"
