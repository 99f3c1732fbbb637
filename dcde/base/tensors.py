"""Read safetensors files."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dcde.base.errors import UserError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of an existing file.

    Raises:
        UserError: if this user may not read it, or it is damaged.
    """
    if not os.access(path, os.R_OK):  # safetensors would say that there is no such file
        raise UserError(f"{path}: permission denied; its owner can allow it with `chmod a+r`")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    return tensors
