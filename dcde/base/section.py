"""What the sections of params.yaml are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


PositiveInt = Annotated[int, Field(gt=0)]


UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"found {value!r}, expected 64 hexadecimal digits in lower case")
    return value


Sha256 = Annotated[str, AfterValidator(_sha256)]


class Section(BaseModel):
    """A section of params.yaml: frozen, and no key that is not declared here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
