"""JSON of unknown origin: files read strictly, values as dataclasses of checked types."""

from __future__ import annotations

import json
import math
import os
import re
import types
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
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


_MOST_DIGITS = 1000  # Python itself refuses 4300, with advice for programmers
_MOST_CHARACTERS = 10_000
# Control characters but tabs and line breaks, and halves of surrogate pairs.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def read_json(path: Path) -> object:
    """Return the values in a JSON file.

    Raises:
        FileNotFoundError: There is none.
        ManifestError: It cannot be read, or has a key twice, or a number that is not finite or
            takes more than 64 bits; the message is one line.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would wait for ever
        raise ManifestError(f"{path}: not a regular file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the path once more
        raise ManifestError(f"{path}: cannot be read: {reason}") from error
    try:
        content: object = json.loads(text, parse_int=_whole_number, object_pairs_hook=_object)
        _check_numbers(content, "")
    except RecursionError:
        raise ManifestError(f"{path}: lists or objects are nested too deeply") from None
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    except ValueError as error:
        raise ManifestError(f"{path}: not valid JSON: {error}") from error
    return content


def shown(value: object) -> str:
    """Return a value as messages show it: its beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def parse_dataclass(kind: type[T], content: object) -> T:
    """Return JSON values as a dataclass.

    Raises:
        ManifestError: Names the field, what it holds and what is allowed.
    """
    return cast(T, _parse(kind, content, ""))


def _parse(kind: Any, value: object, where: str) -> Any:
    """Return a JSON value as a type: dataclass, optional, tuple, mapping, str, int, float."""
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
        return {
            _text(key, where): _parse(inner, item, f"{where}.{key}") for key, item in value.items()
        }
    if kind is str and isinstance(value, str):
        return _text(value, where)
    _check_numbers(value, where)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    # JSON does not tell 1.0 from 1.
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ManifestError(f"{where}: {shown(value)}; allowed: {_NAMES[origin or kind]}")


def _parse_dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ManifestError(f"{where or 'the file'}: not an object")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    prefix = f"{where}." if where else ""
    for name in value:
        if name not in known:
            raise ManifestError(f"{prefix}{name[:40]}: unknown field")
    arguments = {}
    for name, field in known.items():
        if name in value:
            arguments[name] = _parse(hints[name], value[name], prefix + name)
        elif field.default is MISSING:
            raise ManifestError(f"{prefix}{name}: missing")
    return kind(**arguments)


def _text(value: str, where: str) -> str:
    if len(value) > _MOST_CHARACTERS:
        raise ManifestError(
            f"{where}: a text of {len(value)} characters; allowed: at most {_MOST_CHARACTERS}"
        )
    if found := _NOT_TEXT.search(value):
        raise ManifestError(f"{where}: {shown(value)} holds {found[0]!r}, which is no text")
    return value


def _check_numbers(value: object, where: str) -> None:
    """Refuse numbers that nothing can calculate with, by their place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(inner, f"{where}.{key[:40]}" if where else key[:40])
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_numbers(inner, f"{where}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ManifestError(f"{where}: {value} is not a finite number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        text = str(value)
        raise ManifestError(f"{where}: {text[:10]}… is a number of {len(text)} digits")


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text[:10]}… is a number of {len(text)} digits")
    return int(text)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:40]!r} stands there twice")
    return content
