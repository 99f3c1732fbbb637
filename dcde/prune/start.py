"""Start from an existing student instead of pruning: to train it on other photos, say."""

from __future__ import annotations

from dcde.base.errors import UserError
from dcde.base.paths import check_not_made
from dcde.model import DCAE, DCAEConfig
from dcde.model.sources import known_config, load_model


def existing_student(source: str, teacher: DCAE) -> DCAE:
    """Return the teacher with that student's decoder.

    Raises:
        UserError: if there is none, or one that does not fit this teacher.
    """
    check_not_made(source, "prune.start")
    found = load_model(source, "prune.start")
    check_student(found.config, teacher.config)
    student = DCAE(teacher.config.model_copy(update={"decoder": found.config.decoder}))
    student.encoder.load_state_dict(teacher.encoder.state_dict())
    student.decoder.load_state_dict(found.decoder.state_dict())
    return student.eval()


def known_student(source: str, teacher: DCAEConfig) -> DCAEConfig | None:
    """Return the architecture of that student; None if it is yet to be downloaded.

    Raises:
        UserError: as `existing_student`.
    """
    check_not_made(source, "prune.start")
    found = known_config(source, "prune.start")
    if found is not None:
        check_student(found, teacher)
    return found


def check_student(student: DCAEConfig, teacher: DCAEConfig) -> None:
    """Reject a student that decodes other latents, or is wider than the teacher.

    Raises:
        UserError: with what was found and expected.
    """
    for what in ("latent_channels", "downsampling"):
        found, expected = getattr(student, what), getattr(teacher, what)
        if found != expected:
            raise UserError(
                f"prune.start: found a model of {what} {found}, expected the teacher's, {expected}"
            )
    ours, theirs = student.decoder.widths, teacher.decoder.widths
    if any(width > limit for width, limit in zip(ours, theirs, strict=True)):
        raise UserError(
            f"prune.start: found widths {list(ours)}, expected none above the teacher's, "
            f"{list(theirs)}"
        )
