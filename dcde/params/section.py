"""The base class of all parameter sections, and the types of their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MAX_SIDE = 4096
"""Largest side of an image in pixels."""
Side = Annotated[int, Field(ge=32, le=MAX_SIDE)]
"""Pixels."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""At least 0 and below 1."""
Ratio = Annotated[float, Field(gt=0, le=1)]
"""Above 0 and at most 1."""
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


class Section(BaseModel):
    """A frozen section of params.yaml that rejects keys it does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
