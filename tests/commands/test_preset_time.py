"""`dcde preset --time`: decoders of random weights, measured before anything is trained."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from typer.testing import CliRunner

from dcde.commands.app import app
from dcde.commands.preset_time import PEERS
from dcde.model.zoo import zoo_config
from tests.helpers.tiny import ROOT


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def timed(*options: str) -> tuple[int, str]:
    shutil.copytree(ROOT / "presets", "presets", dirs_exist_ok=True)
    done = CliRunner().invoke(app, ["preset", "tiny-8x", "--time", *options])
    return done.exit_code, done.output


def test_teacher_and_student_in_every_way(in_folder: Path) -> None:
    code, said = timed("--size", "64", "--size", "32", "--precision", "bf16")
    device, forecast, head, _, *rows = said.splitlines()
    assert code == 0 and device.endswith("bf16, random weights")
    assert forecast == "this takes about 1 min on a CPU"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    peer = "diffusers" if "teacher's diffusers" in head else "plain"
    assert {tuple(row[:3]) for row in cells} == {
        (decoder, way, size)
        for decoder in ("teacher", "tiny-8x")
        for way in (peer, "optimized")
        for size in ("64", "32")
    }
    for row in cells:
        slow = next(r for r in cells if r[:3] == ["teacher", peer, row[2]])
        assert float(row[4]) == pytest.approx(float(slow[3]) / float(row[3]), rel=0.1, abs=0.01)


def test_other_decoders_are_of_the_same_latents() -> None:
    for teacher, (_, peer) in PEERS.items():
        ours, theirs = zoo_config(teacher), zoo_config(peer)
        assert ours.encoder == theirs.encoder and ours.decoder != theirs.decoder


def test_what_can_not_be_measured(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = timed("--size", "100")
    assert code == 1 and "error: --size: found 100 pixels, expected a multiple of 16" in said
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**7))
    code, said = timed("--size", "64")
    assert code == 1 and said.startswith("error: --time: the weights of teacher, tiny-8x take ")
    assert "but 10 MB of memory are free" in said and said.count("\n") == 1
