"""Importing torchvision where its compiled part does not fit torch."""

from __future__ import annotations

from typing import Any

import torch

_library: Any = None  # torch forgets the declarations when their library object goes


def import_torchvision() -> None:
    """Import torchvision also where its compiled part can't be loaded.

    `lpips` and `pytorch_fid` import it for the layout of networks alone. A torchvision built for
    another variant of torch (CUDA beside a CPU build) fails to import, because it registers fakes
    for two operators that its compiled part would have declared: declaring them is all it needs.
    """
    global _library
    try:
        import torchvision
    except RuntimeError:
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
