"""Check that the installed torchvision was built for the installed torch."""

from __future__ import annotations

from importlib.metadata import version

from dcde.base.errors import UserError


def check_torchvision() -> None:
    """Import torchvision, which `lpips`, `pytorch_fid` and diffusers also import.

    Raises:
        UserError: if its compiled part does not fit torch, with what to install. torchvision's own
            error is "operator torchvision::nms does not exist".
    """
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError, OSError) as error:
        raise UserError(
            f"torchvision {version('torchvision')} can't be loaded beside torch {version('torch')} "
            f"({str(error).splitlines()[0]}): expected builds of both that belong together. "
            "`pip install --upgrade torch torchvision` installs such a pair"
        ) from None
