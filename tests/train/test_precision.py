"""Training in bf16 and with torch.compile, against plain steps in fp32 on the same batches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dcde.base.errors import UserError
from dcde.data.folder import Photo
from dcde.model.blocks import LiteMLA
from tests.helpers.distill_run import curve, run_distill

Photos = tuple[Photo, ...]
SHORT: dict[str, Any] = {"epochs": 2, "samples_per_epoch": 16}


@pytest.fixture(scope="module")
def plain(photo_list: Photos, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    folder = tmp_path_factory.mktemp("plain")
    run_distill(photo_list, folder, **SHORT)
    return curve(folder, "loss/total")


def test_bf16_steps_follow_fp32(
    plain: dict[int, float], photo_list: Photos, tmp_path: Path
) -> None:
    _, student = run_distill(photo_list, tmp_path, **SHORT, precision="bf16")
    losses = curve(tmp_path, "loss/total")
    assert losses != plain and losses == pytest.approx(plain, rel=0.03)
    assert {p.dtype for p in student.parameters()} == {torch.float32}


def test_compiled_steps_follow_plain_ones(
    plain: dict[int, float], photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    run_distill(photo_list, tmp_path, **SHORT, compile=True)
    assert counters["stats"]["unique_graphs"] > 0  # it was compiled at all
    assert curve(tmp_path, "loss/total") == pytest.approx(plain, rel=1e-3)


def test_compiled_attention_has_its_gradients_in_bf16() -> None:
    """On CPUs with AMX, torch.compile gives NaN here unless it leaves the sums alone."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    attention = LiteMLA(32, "trms2d", multiscale=False)
    features = torch.randn(4, 32, 8, 8)
    gradients = []
    for run in (attention, torch.compile(attention)):
        attention.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = run(features).square().mean()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in attention.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.05, atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has fp16")
def test_what_the_machine_lacks_is_named_before_any_work(
    photo_list: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"precision: found 'fp16', but no GPU was found"):
        run_distill(photo_list, tmp_path, precision="fp16")
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"distill\.compile: found true, but .*g\+\+"):
        run_distill(photo_list, tmp_path, compile=True)
    assert not list(tmp_path.iterdir())
