"""Read a parameters file; report its first error in one line with the field's full name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dcde.base.errors import UserError
from dcde.params.section import Section

AnyParams = TypeVar("AnyParams", bound=Section)


def load_params(path: Path, model: type[AnyParams]) -> AnyParams:
    """Read and check a parameters file.

    Raises:
        UserError: for the first error, with the field's full name, what was found and expected.
    """
    return validate(read_raw(path), model, where=path.name)


def read_raw(path: Path) -> Any:
    """Return the content of a file of parameters, unchecked.

    Raises:
        UserError: if it is missing or not YAML.
    """
    try:
        return yaml.safe_load(path.read_bytes())  # bytes: YAML reports those that are no text
    except FileNotFoundError:
        raise UserError(f"{path}: not found, expected the parameters file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def validate(raw: Any, model: type[AnyParams], *, where: str) -> AnyParams:
    """Build `model` from plain data.

    Raises:
        UserError: for the first error, naming the field.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {first_fault(error, model)}") from None


def first_fault(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error in one line, with the field's full name."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown parameter" + _did_you_mean(model, first["loc"])
    elif first["type"] == "missing":
        message = "missing"
    elif first["type"] != "value_error":
        message = f"found {first['input']!r}; {message[0].lower()}{message[1:]}"
    return f"{field}: {message}" if field else message


def _did_you_mean(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            return ""
        model = field.annotation
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    names = ", ".join(model.model_fields)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of: {names}"
