"""Distillation of DC-AE decoders."""

from importlib import import_module
from typing import Any

_EXPORTS = {"optimize": "dcde.optimizing"}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is asked for: `import dcde` alone stays cheap."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dcde' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
