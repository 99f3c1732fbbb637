"""pytorch-fid's Inception, whose features FID compares (Heusel et al., arXiv 1706.08500)."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.base.tensors import read_tensors
from dcde.base.torchvision_check import check_torchvision
from dcde.base.work import left_behind

INCEPTION = "inception.safetensors"
"""Name of the weights file."""

INCEPTION_FEATURES = 2048

_EXPECTED = "pytorch-fid's Inception weights"


def download_inception() -> Path:
    """Return pytorch-fid's file in torch's cache, downloaded unless it is there."""
    check_torchvision()
    from pytorch_fid.inception import FID_WEIGHTS_URL

    name = Path(urlparse(FID_WEIGHTS_URL).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.stem.rsplit("-", 1)[1]  # the beginning of the file's sha256
    try:
        torch.hub.download_url_to_file(FID_WEIGHTS_URL, str(path), hash_prefix=prefix)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"eval.fid: can't download {_EXPECTED} ({error}); fetch {FID_WEIGHTS_URL} elsewhere "
            "and set eval.inception_weights to the file, or set eval.fid to false"
        ) from None
    return path


def convert_inception(path: Path) -> dict[str, Tensor]:
    """Turn pytorch-fid's file into a state dict, with torch's restricted unpickler."""
    if not path.is_file():
        raise UserError(
            f"eval.inception_weights: {path}: not found, expected {_EXPECTED}{left_behind(path)}"
        )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        _network(state)
    except pickle.UnpicklingError:
        raise UserError(f"eval.inception_weights: {path}: not {_EXPECTED}") from None
    except (RuntimeError, TypeError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"eval.inception_weights: {path}: not {_EXPECTED} ({reason})") from None
    return {key: tensor.contiguous() for key, tensor in state.items()}


def load_inception(weights: Path) -> nn.Module:
    """Load the frozen network: (B, 3, H, W) in [-1, 1] to (B, 2048), resized to 299 inside."""
    if not weights.is_file():
        raise UserError(
            f"{weights}: not found, expected {_EXPECTED}; `dvc repro download_metric_networks` "
            "fetches them if eval.fid is true"
        )
    try:
        network = _network(read_tensors(weights))
    except RuntimeError as error:
        raise UserError(f"{weights}: not {_EXPECTED} ({str(error).splitlines()[0]})") from None
    return nn.Sequential(network, _FirstOutput()).requires_grad_(False).eval()


def _network(state: Mapping[str, Tensor]) -> nn.Module:
    check_torchvision()
    from pytorch_fid import inception

    # pytorch-fid only takes its weights from a URL, and unpickles whatever is there.
    load_from_url = inception.load_state_dict_from_url
    inception.load_state_dict_from_url = lambda *_, **__: state
    try:
        with warnings.catch_warnings():  # it calls torchvision with arguments since renamed
            warnings.simplefilter("ignore", UserWarning)
            network: nn.Module = inception.InceptionV3(normalize_input=False)
    finally:
        inception.load_state_dict_from_url = load_from_url
    return network


class _FirstOutput(nn.Module):
    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        return outputs[0].flatten(1)
