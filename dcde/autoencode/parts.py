"""Which parts of an autoencoder train in a phase.

DC-AE (arXiv 2410.10733) trains in three: the whole at low resolution; then, at high resolution, the
middle, which is what lies around the latent, so that latents of large images get used to their
size; then, at low resolution again, the decoder's head with a GAN. Its paper does not say which
layers these are; here the middle is the coarsest stage on both sides and the head is the finest
stage of the decoder, each with the layer that ends it.
"""

from __future__ import annotations

from torch import nn

from dcde.base.autoencoder import Part
from dcde.model import DCAE
from dcde.model.blocks import recompute_stages


def train_part(model: DCAE, part: Part, *, checkpoint_activations: bool) -> None:
    """Let a part of the model train, and freeze the rest.

    Args:
        part: `all`; `decoder`, so that latents stay as they are; `middle` or `head`.
        checkpoint_activations: whether blocks are computed again in the backward pass.
    """
    encoder, decoder = model.encoder, model.decoder
    parts: dict[Part, list[nn.Module]] = {
        "all": [model],
        "decoder": [decoder],
        "middle": [
            encoder.stages[-1],
            encoder.project_out,
            decoder.project_in,
            decoder.stages[-1],
        ],
        "head": [decoder.stages[model.config.decoder.first_stage], decoder.project_out],
    }
    model.requires_grad_(False)
    for module in parts[part]:
        module.requires_grad_(True)
    for side in (encoder, decoder):
        recompute_stages(side.stages, checkpoint_activations)
