"""JSON values as dataclasses, every field's type checked."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from valueeval.adapters.directory.errors import ManifestError

T = TypeVar("T")

_NAMES: dict[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
    Mapping: "an object",
}


def parse_dataclass(kind: type[T], content: object) -> T:
    """JSON values as a dataclass.

    Raises:
        ManifestError: Names the field, what it holds and what is allowed.
    """
    return cast(T, _parse(kind, content, ""))


def _parse(kind: Any, value: object, where: str) -> Any:
    """Reads a JSON value as a type: dataclass, optional, tuple, mapping, str, int, float."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    if origin in (Union, types.UnionType):
        inner = next(option for option in get_args(kind) if option is not type(None))
        return None if value is None else _parse(inner, value, where)
    if origin is tuple and isinstance(value, list):
        inner = get_args(kind)[0]
        return tuple(_parse(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        inner = get_args(kind)[1]
        return {key: _parse(inner, item, f"{where}.{key}") for key, item in value.items()}
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    # JSON does not tell 1.0 from 1.
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            number = float(value)
            if math.isfinite(number):
                return number
    raise ManifestError(f"{where}: {value!r}; allowed: {_NAMES[origin or kind]}")


def _parse_dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ManifestError(f"{where or 'the file'}: not an object")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    prefix = f"{where}." if where else ""
    for name in value:
        if name not in known:
            raise ManifestError(f"{prefix}{name}: unknown field")
    arguments = {}
    for name, field in known.items():
        if name in value:
            arguments[name] = _parse(hints[name], value[name], prefix + name)
        elif field.default is MISSING:
            raise ManifestError(f"{prefix}{name}: missing")
    return kind(**arguments)
