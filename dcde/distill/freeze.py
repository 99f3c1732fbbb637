"""Which parameters of the student train, and when."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from dcde.base.errors import UserError
from dcde.model import DCAE, Decoder
from dcde.model.blocks import recompute_stages


def freeze(
    student: DCAE, *, encoder: bool, project_out: bool, checkpoint_activations: bool
) -> None:
    """Let the decoder train and, where it is not frozen, the encoder.

    Args:
        encoder: whether the encoder stays the teacher's, so that latents stay the same.
        project_out: whether the decoder's output layer stays as it is too.
        checkpoint_activations: whether blocks are computed again in the backward pass.
    """
    student.requires_grad_(False)
    student.decoder.requires_grad_(True)
    student.encoder.requires_grad_(not encoder)
    if project_out:
        student.decoder.project_out.requires_grad_(False)
    recompute_stages(student.decoder.stages, checkpoint_activations)


def deep_parameters(
    decoder: Decoder, shallow_stages: tuple[int, ...] | None
) -> Collection[nn.Parameter]:
    """All parameters outside of the shallow stages, which segment training leaves alone at first.

    Args:
        shallow_stages: None: the half of the stages at the highest resolution.

    Raises:
        UserError: for a stage that the decoder does not have.
    """
    present = [i for i, stage in enumerate(decoder.stages) if list(stage.parameters())]
    shallow = present[: len(present) // 2] if shallow_stages is None else shallow_stages
    for stage in shallow:
        if stage not in present:
            raise UserError(
                f"distill.shallow_stages: found {stage}, expected some of the decoder's {present}"
            )
    training = {p for i in shallow for p in decoder.stages[i].parameters()}
    return [p for p in decoder.parameters() if p not in training]
