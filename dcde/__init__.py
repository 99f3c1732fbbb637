"""DCDE: decoders of Deep Compression AutoEncoders, pruned and distilled."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcde.decode.optimize import decode_tiled as decode_tiled
    from dcde.decode.optimize import optimize as optimize
    from dcde.model.checkpoint import save_model as save_model
    from dcde.model.sources import load_model as load_model
    from dcde.model.zoo import zoo_config as zoo_config

_EXPORTS = {
    "decode_tiled": "dcde.decode.optimize",
    "load_model": "dcde.model.sources",
    "optimize": "dcde.decode.optimize",
    "save_model": "dcde.model.checkpoint",
    "zoo_config": "dcde.model.zoo",
}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is asked for: `import dcde` alone stays cheap."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dcde' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
