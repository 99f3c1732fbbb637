"""Export encoder and decoder as ONNX graphs for any batch, height and width."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor, nn

from dcde.base.errors import UserError
from dcde.base.files import whole_folder
from dcde.data.pixels import to_model_range, to_rgb
from dcde.model import DCAE
from dcde.model.weights import CONFIG

TOLERANCE = 1e-4
"""Largest difference from our model, relative to its largest output."""
CHECKED = ((2, 2, 3), (1, 1, 1), (1, 9, 5))
"""Batch, height and width of the random latents that graph and model are compared on."""
ONE_FILE_BYTES = 1_500_000_000
"""Larger weights go to a file beside the graph: a protobuf holds 2 GB."""


def export_onnx(model: DCAE, folder: Path) -> None:
    """Write `encoder.onnx`, `decoder.onnx` and `config.json`; the folder appears whole or not.

    The encoder turns `image` (batch, 3, height * f, width * f) in [-1, 1] into `latent` (batch,
    channels, height, width); the decoder does the reverse.

    Raises:
        UserError: if the ONNX packages are missing, or onnxruntime's output differs from ours.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise UserError(
            f"format onnx: {error.name} is not installed; `pip install 'dcde[onnx]'`"
        ) from None
    config = model.config
    pictures = _pictures(config.downsampling)
    with torch.inference_mode():
        latents = [model.encode(picture) for picture in pictures]
    with whole_folder(folder) as partial:
        for name, part, channels, f, real in (
            ("encoder", model.encoder, 3, config.downsampling, pictures),
            ("decoder", model.decoder, config.latent_channels, 1, latents),
        ):
            generator = torch.Generator().manual_seed(0)
            inputs = [
                torch.randn(b, channels, f * h, f * w, generator=generator) for b, h, w in CHECKED
            ] + real
            path = partial / f"{name}.onnx"
            _write_graph(part, path, inputs[0], f, name)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            _check(session, part, inputs, name)
        raw = {"dcde": config.model_dump(mode="json")}
        (partial / CONFIG).write_text(json.dumps(raw, indent=2) + "\n")


def _pictures(downsampling: int) -> list[Tensor]:
    """Return 27 flat colors and two photos: attention's keys can all be 0 there."""
    colors = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    flat = colors[:, :, None, None].repeat(1, 1, downsampling, downsampling)
    side = max(1, 256 // downsampling) * downsampling
    photos = [
        to_rgb(Image.fromarray(pixels)).resize((side, side))
        for pixels in (skimage.data.camera(), skimage.data.astronaut())
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(photo) for photo in photos]))
    return [flat, to_model_range(pixels.permute(0, 3, 1, 2))]


def _write_graph(part: nn.Module, path: Path, example: Tensor, f: int, name: str) -> None:
    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    inputs, outputs = ("image", "latent") if name == "encoder" else ("latent", "image")
    size = sum(p.numel() * p.element_size() for p in part.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, about its own code
        torch.onnx.export(
            part,
            (example,),
            path,
            dynamo=True,
            dynamic_shapes=({0: batch, 2: f * height, 3: f * width},),
            input_names=[inputs],
            output_names=[outputs],
            external_data=size > ONE_FILE_BYTES,
            verbose=False,
        )


@torch.inference_mode()
def _check(session: Any, part: nn.Module, inputs: list[Tensor], name: str) -> None:
    field = session.get_inputs()[0].name
    for x in inputs:
        ours = part(x).numpy()
        (theirs,) = session.run(None, {field: x.numpy()})
        error = float(np.abs(theirs - ours).max() / np.abs(ours).max())
        if not error <= TOLERANCE:
            raise UserError(
                f"format onnx: the {name}'s graph differs from the model by {error:.2g} of its "
                f"largest output at {list(x.shape)}, expected at most {TOLERANCE:g}; nothing was "
                "written"
            )
