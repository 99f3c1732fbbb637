"""Width pruning: channels that do nothing go unnoticed, and what is left runs, saves and trains."""

import json
from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.model import DCAE, DecoderConfig, zoo_config
from dcde.model.checkpoint import read_model, save_model
from dcde.prune.shape import narrower_config, nearest_widths
from tests.helpers.tiny import tiny_config


def test_configurations_without_inner_widths_load(tiny_model: DCAE, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model")
    path = tmp_path / "model/config.json"
    raw = json.loads(path.read_text())
    del raw["dcde"]["decoder"]["inner_widths"]
    path.write_text(json.dumps(raw))
    assert read_model(tmp_path / "model").config == tiny_model.config


def test_inner_width_is_a_share_of_the_teachers_or_follows_the_width() -> None:
    teacher = zoo_config("dc-ae-f16c16-photos")
    thin = narrower_config(teacher, None, [1, 0.75, 0.5, 0.25, 0.25])
    assert thin.decoder.inner_widths == (16, 24, 32, 128, 128)
    halved = [16, 16, 32, 64, 64]
    assert narrower_config(teacher, halved, None).decoder.inner_widths is None
    assert narrower_config(thin, halved, None).decoder.inner_widths == (16, 12, 16, 64, 64)
    both = narrower_config(teacher, halved, [1, 1, 0.5, 0.5, 0.5]).decoder
    assert both.inner_widths == (16, 32, 32, 256, 256)


BAD = [
    ([16, 32, 64], r"found \[16, 32, 64\] with 3 entries, expected 5"),
    ([16, 32, 64, 100, 128], r"of 32 for attention heads; .* \[16, 32, 64, 128, 128\]"),
    ([16, 20, 64, 128, 128], r"4 \* 20 to be a multiple of 64 .* \[16, 16, 64, 128, 128\]"),
    ([16, 33, 64, 128, 128], r"stage 1 is wider than the teacher's, .* \[16, 32, 64, 128, 128\]"),
    ([0, 16, 32, 64, 64], r"stage 0 is absent, expected the teacher's 16; .* \[16, 16, 32,"),
]


@pytest.mark.parametrize(("widths", "message"), BAD)
def test_impossible_widths_are_refused_with_the_nearest(widths: list[int], message: str) -> None:
    with pytest.raises(UserError, match=r"prune\.width_list: .*" + message):
        narrower_config(zoo_config("dc-ae-f16c16-photos"), widths, None)


def test_width_that_the_latent_does_not_divide_is_refused() -> None:
    config = tiny_config()
    decoder = config.decoder.model_dump() | {"block_types": ("R",) * 4}
    config = config.model_copy(update={"decoder": DecoderConfig(**decoder)})
    with pytest.raises(UserError, match=r"last is 6, expected a multiple of .* \[4, 6, 6, 4\]"):
        narrower_config(config, [4, 6, 6, 6], None)


@pytest.mark.parametrize(
    "wanted", [[16, 1, 1, 1, 1], [16, 31, 50, 90, 120], [16, 32, 64, 128, 128]]
)
def test_nearest_widths_are_the_nearest_of_all_allowed(wanted: list[int]) -> None:
    teacher = zoo_config("dc-ae-f16c16-photos")
    allowed = [
        [16, a, b, c, d]
        for a in range(1, 33)
        for b in range(1, 65)
        for c in range(32, 129, 32)
        for d in range(32, 129, 32)
        if 4 * a % b == 0 and 4 * b % c == 0 and 4 * c % d == 0
    ]

    def away(widths: list[int]) -> int:
        return sum(abs(w - v) for w, v in zip(widths, wanted, strict=True))

    found = nearest_widths(teacher, wanted)
    assert found in allowed and away(found) == min(map(away, allowed))
    narrower_config(teacher, found, None)
