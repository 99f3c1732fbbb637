"""A student that is there already, to be trained on: on other photos, say."""

from __future__ import annotations

from pathlib import Path

from dcde.base.errors import UserError
from dcde.base.paths import PRUNED, STUDENT
from dcde.model import DCAE, DCAEConfig
from dcde.model.sources import load_model


def existing_student(source: str, teacher: DCAE) -> DCAE:
    """The teacher with the decoder of that student.

    Raises:
        UserError: if there is none, or one that can't be this teacher's.
    """
    check_place(source)
    found = load_model(source, "prune.start")
    check_student(found.config, teacher.config)
    student = DCAE(teacher.config.model_copy(update={"decoder": found.config.decoder}))
    student.encoder.load_state_dict(teacher.encoder.state_dict())
    student.decoder.load_state_dict(found.decoder.state_dict())
    return student.eval()


def check_place(source: str) -> None:
    """Refuse a folder that the pipeline replaces while it runs.

    Raises:
        UserError: saying what to do.
    """
    if Path(source).resolve() in (STUDENT.resolve(), PRUNED.resolve()):
        raise UserError(
            f"prune.start: found {source}, which this pipeline writes anew: copy it "
            f"(`cp -r {source} my-student`) and name the copy"
        )


def check_student(student: DCAEConfig, teacher: DCAEConfig) -> None:
    """Refuse a student that decodes other latents, or whose features can't be compared.

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
