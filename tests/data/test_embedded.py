"""The embedded photos, as they come from PyPI."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcde.base.errors import UserError
from dcde.data.embedded import VAL, write_photos
from dcde.data.folder import check_images, list_images


def test_embedded_photos_are_enough_readable_and_split(tmp_path: Path) -> None:
    try:
        write_photos(tmp_path)
    except UserError as error:
        pytest.skip(f"no package index: {error}")
    train, val = (check_images(list_images(tmp_path / s)) for s in ("train", "val"))
    train_names, val_names = ({Path(p.path).name for p in photos} for photos in (train, val))
    assert len(train_names) == 57 and val_names == VAL and not train_names & val_names
    assert all(min(photo.width, photo.height) >= 256 for photo in (*train, *val))
