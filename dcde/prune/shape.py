"""The student's architecture, as a function of the teacher's and of the `prune` parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import ValidationError

from dcde.base.errors import UserError
from dcde.model import DCAEConfig
from dcde.model.spec import HEAD_DIM
from dcde.params.pipeline import PruneParams


def student_config(teacher: DCAEConfig, prune: PruneParams) -> DCAEConfig:
    """Return the configuration of the pruned student.

    Raises:
        UserError: for depths or widths that this teacher can't be pruned to.
    """
    shorter = shorter_config(teacher, prune.depth_list)
    return narrower_config(shorter, prune.width_list, prune.inner_ratio)


def shorter_config(teacher: DCAEConfig, depth_list: Sequence[int]) -> DCAEConfig:
    """Return the configuration with so many blocks in each stage of the decoder.

    Without the finest stage, all upsampling shuffles pixels, as then the output layer does too.

    Raises:
        UserError: for a depth list of the wrong length, deeper than the teacher's, or with 0 blocks
            in a stage that has some and is not the finest.
    """
    depths = teacher.decoder.depths
    found = f"prune.depth_list: found {list(depth_list)}"
    if len(depth_list) != len(depths):
        raise UserError(
            f"{found} with {len(depth_list)} entries, expected {len(depths)}: "
            f"the teacher's is {list(depths)}"
        )
    for i, (student, full) in enumerate(zip(depth_list, depths, strict=True)):
        if student > full:
            raise UserError(
                f"{found}, stage {i} is deeper than the teacher's: expected at most {full}"
            )
        if student == 0 and full > 0 and i > 0:
            raise UserError(f"{found}, stage {i} is empty: expected at least 1")
    name = f"{teacher.name}-pruned-{'-'.join(map(str, depth_list))}"
    try:
        shorter = teacher.with_decoder_depths(tuple(depth_list), name)
        if shorter.decoder.first_stage > teacher.decoder.first_stage:
            shorter = shorter.with_decoder(name, upsample="ConvPixelShuffle")
        return shorter
    except ValidationError as error:
        raise UserError(f"{found}: {error.errors()[0]['msg']}") from None


def narrower_config(
    model: DCAEConfig, width_list: Sequence[int] | None, inner_ratio: Sequence[float] | None
) -> DCAEConfig:
    """Return the configuration with fewer channels.

    Args:
        width_list: channels of each stage of the decoder; None: as they are.
        inner_ratio: share of the channels inside the blocks that each stage keeps; None: the share
            that width_list keeps.

    Raises:
        UserError: for lists of the wrong length, and for widths that the shortcuts and attention
            heads rule out, with the nearest possible ones.
    """
    decoder, name = model.decoder, model.name
    for field, values in (("width_list", width_list), ("inner_ratio", inner_ratio)):
        if values is not None and len(values) != len(decoder.widths):
            raise UserError(
                f"prune.{field}: found {list(values)} with {len(values)} entries, expected "
                f"{len(decoder.widths)}, one for each stage of the decoder"
            )
    widths = decoder.widths
    if width_list is not None:
        widths = tuple(width_list)
        _check_widths(model, widths)
        name += "-width-" + "-".join(map(str, widths))
    if inner_ratio is None:
        inner_ratio = [new / old for new, old in zip(widths, decoder.widths, strict=True)]
    else:
        name += "-inner-" + "-".join(f"{ratio:g}" for ratio in inner_ratio)
    inner = tuple(max(1, round(r * decoder.inner_width(i))) for i, r in enumerate(inner_ratio))
    narrow = model.with_decoder(name, widths=widths, inner_widths=None)
    if inner == tuple(narrow.decoder.inner_width(i) for i in range(len(widths))):
        return narrow
    return model.with_decoder(name, widths=widths, inner_widths=inner)


def _check_widths(model: DCAEConfig, widths: tuple[int, ...]) -> None:
    full, found = model.decoder, f"prune.width_list: found {list(widths)}"
    reason = None
    for i, (new, old) in enumerate(zip(widths, full.widths, strict=True)):
        if i < full.first_stage and new != old:
            reason = f"stage {i} is absent, expected the teacher's {old}"
        elif new > old:
            reason = f"stage {i} is wider than the teacher's, expected at most {old}"
    if reason is None:
        try:
            model.with_decoder(model.name, widths=widths, inner_widths=None)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("widths: ")
    if reason is not None:
        raise UserError(
            f"{found}: {reason}; the nearest allowed is {nearest_widths(model, widths)}"
        )


def nearest_widths(model: DCAEConfig, widths: Sequence[int]) -> list[int]:
    """Return the possible width list that differs least from `widths`, and in the fewest stages.

    >>> from dcde.model import zoo_config
    >>> nearest_widths(zoo_config("dc-ae-f16c16-photos"), [16, 32, 60, 100, 100])
    [16, 24, 48, 96, 96]
    """
    full, first = model.decoder, model.decoder.first_stage
    # From the coarsest stage to the finest: the best list that ends in each width.
    best: dict[int, tuple[int, int, list[int]]] = {0: (0, 0, [])}
    for i in reversed(range(first, len(full.widths))):
        heads = 1 if full.block_types[i] == "R" else HEAD_DIM
        longer: dict[int, tuple[int, int, list[int]]] = {}
        for coarse, (far, changed, rest) in best.items():
            # 4 * fine is a multiple of coarse; the coarsest is a multiple of the latent's channels
            step = coarse // math.gcd(4, coarse) if coarse else model.latent_channels
            step = math.lcm(step, heads)
            for width in range(step, full.widths[i] + 1, step):
                away = abs(width - widths[i])
                candidate = (far + away, changed + (away > 0), [width, *rest])
                if width not in longer or candidate < longer[width]:
                    longer[width] = candidate
        best = longer
    return [*full.widths[:first], *min(best.values())[2]]
