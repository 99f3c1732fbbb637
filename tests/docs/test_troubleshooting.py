"""The messages of docs/troubleshooting.md are those that programs print.

Each quoted line must be made by a string of the code, in which names and numbers are filled in.
Those that `dcde check` prints are also provoked.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcde.base.errors import UserError
from dcde.params.pipeline import Params
from dcde.params.file import validate
from dcde.commands.check import checked
from dcde.commands.preset import merge, read_preset
from dcde.data.folder import check_images, list_images
from tests.helpers.markdown import blocks
from tests.helpers.tiny import ROOT, SKIMAGE_DATA

OURS, DVCS = "error: ", "ERROR: "
LITERAL_CHARACTERS = 15
"""So many of a string must be fixed, to tell something by it."""


def quoted() -> list[str]:
    page = ROOT / "docs/troubleshooting.md"
    return [line for b in blocks(page) if b.language == "text" for line in b.text.splitlines()]


MESSAGES = quoted()


def templates(folder: Path) -> Iterator[str]:
    """A pattern for every string in the code that has enough to it."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else None for p in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = re.split(r"\{\w*\}", node.value)  # filled in by format()
                parts = [p for part in parts for p in (part, None)][:-1]
            else:
                continue
            if sum(len(part) for part in parts if part) >= LITERAL_CHARACTERS:
                yield "".join(".*" if p is None else re.escape(str(p).strip("\n")) for p in parts)


def package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def ours() -> list[str]:
    return list(templates(ROOT / "dcde"))


@pytest.mark.parametrize(
    "message", [m for m in MESSAGES if m.startswith(OURS) and "unknown parameter" not in m]
)
def test_our_code_prints_it_whole(message: str, ours: list[str]) -> None:
    """But for the one that is put together of several strings, which is provoked below."""
    said = message.removeprefix(OURS)
    assert any(re.fullmatch(f"(?:.*: )?{pattern}", said) for pattern in ours)


def test_others_print_the_rest() -> None:
    theirs = [
        pattern
        for folder in (package("dvc"), package("diffusers") / "utils")
        for pattern in templates(folder)
    ]
    said = [m.removeprefix(DVCS) for m in MESSAGES if not m.startswith(OURS)]
    assert len(said) > 5
    for message in said:  # or a part of what they print
        assert any(re.search(p, message) or re.escape(message) in p for p in theirs), message


FOLDER = {"data": {"val_fraction": 0.4}, "distill": {"validation_photos": 1}}
PROVOKED: list[tuple[str, dict[str, Any]]] = [
    ("tiny", {"distill": {"epoch": 1}}),
    ("sana-4x", {}),
    ("sana-4x", {"loss": {"feature": 10.0}}),
    ("tiny", {"distill": {"crops": {"image_size": 2**14, "short_side": [2**14, 2**14]}}}),
    ("sana-4x", {"prune": {"width_list": [64, 128, 256, 500, 1024, 1024]}}),
    ("tiny", {"distill": {"precision": "fp16"}}),
    ("tiny", {"distill": {"batch_size": 2000}}),
    ("tiny", {"distill": {"samples_per_epoch": 10**15, "crops_per_image": 10**15}}),
    ("tiny", {"prune": {"calibration_images": 1}, "data": {"eval_size": 32}}),
    ("tiny", {"teacher": {"sha256": "0" * 64}}),
    ("tiny", {"distill": {"compile": True}}),
]


def masked(message: str) -> str:
    """Without numbers, checksums and places, which differ between machines."""
    message = re.sub(r"\S*/\S*", "PLACE", message)
    return re.sub(r"\.dcde\b|\b[0-9a-f]{8,}\b|[\d.]+(e[+-]?\d+)?( [kMGT]?B)?", "N", message)


@pytest.mark.parametrize(("preset", "changes"), PROVOKED)
def test_what_check_says_is_there(
    preset: str,
    changes: Mapping[str, Any],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "compile" in changes.get("distill", {}):
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("CC", "CXX"):
            monkeypatch.delenv(name, raising=False)
    params = merge(
        yaml.safe_load((ROOT / "params.yaml").read_text()), read_preset(ROOT / "presets", preset)
    )
    if preset != "tiny":
        params = merge(params, FOLDER | {"distill": {"validation_photos": 1, "compile": False}})
        if changes:
            params["data"]["source"] = str(photos)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        list(checked(validate(merge(params, changes), Params, where="params.yaml")))
    assert masked(f"{OURS}{caught.value}") in map(masked, MESSAGES)


def test_what_is_said_of_photos_is_there(tmp_path: Path) -> None:
    for name in ("a.heic", "b.heic", "c.heic"):
        (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        list_images(tmp_path, "data.source")
    assert masked(f"{OURS}{caught.value}") in map(masked, MESSAGES)
    (tmp_path / "photo.png").write_bytes((SKIMAGE_DATA / "chelsea.png").read_bytes()[:1000])
    with pytest.raises(UserError) as caught:
        check_images(list_images(tmp_path), "refuse")
    assert masked(f"{OURS}{caught.value}") in map(masked, MESSAGES)
