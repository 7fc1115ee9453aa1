"""Turn an answer in JSON into lines that the readers of templates mbc and cot know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from valueeval.tasks.templates.answer_text import NAME, word_set

_BEGIN = re.compile(r"[{\[](?=\s{0,40}[\[{\"'\w}\]])")
_DEEPEST = 20
_KEY = re.compile(rf"\W*(?:{NAME}|(?:value|item|question)?[ _]?\d{{1,2}})\W*")
_LABELS = word_set("id name value number nr no index key question item label")
_FINAL = word_set(
    "final_answer finalanswer final answer answers values final_values value_list result results"
)
_TRAILING_COMMA = re.compile(r",(?=\s{0,200}[}\]])")
_BARE_KEY = re.compile(r"(?<=[{,])(\s{0,200})(\w{1,40})(?=\s{0,8}:)")
_BARE_WORD = re.compile(r"(?<=[:,\[])( {0,4})(yes|no|none)(?= {0,4}[,}\]\n])")


def find(text: str) -> tuple[str, Any, str] | None:
    """Return the text before the first JSON object or list, what it holds, and the text after it.

    Python's dictionaries (single quotes, trailing commas, bare words) are read as well; an object
    that has a key twice is not.
    """
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    rest = text[begin.start() :]
    for repaired in (rest, _repaired(rest)):
        try:
            found, end = _DECODER.raw_decode(repaired)
        except (ValueError, RecursionError):
            continue
        return text[: begin.start()], found, repaired[end:]
    return None


def final(found: Any) -> Any:
    """Return what an object holds as its final answer; the object itself if it names none."""
    if isinstance(found, dict) and not any(_KEY.fullmatch(key) for key in found):
        for key in found:
            if re.sub(r"[^\w]+", "_", key) in _FINAL:
                return found[key]
    return found


def lines(found: Any, depth: int = _DEEPEST) -> Iterator[str]:
    """Yield one line for each thing said: ``name: verdict``, or a list's item by itself."""
    if isinstance(found, dict):
        record = _record(found)
        if record:
            yield record
            return
        for key, value in found.items():
            if isinstance(value, dict) and _KEY.fullmatch(key):
                yield f"{key}: {_answer(list(value.values()))}"
            elif not isinstance(value, dict | list):
                yield f"{key}: {_scalar(value)}"
            elif depth:
                yield from lines(value, depth - 1)
    elif isinstance(found, list):
        for item in found if depth else ():
            yield from lines(item, depth - 1)
    else:
        yield _scalar(found)


def _record(found: dict[str, Any]) -> str | None:
    """Return the line of an object such as ``{"value": "Face", "answer": "yes"}``."""
    if any(_KEY.fullmatch(key) for key in found):
        return None
    names = [
        value
        for key, value in found.items()
        if key in _LABELS and not isinstance(value, bool) and _KEY.fullmatch(str(value))
    ]
    others = [value for key, value in found.items() if key not in _LABELS]
    if not names or not others:
        return None
    return f"{names[-1]}: {_answer(others)}"


def _answer(values: list[Any]) -> str:
    """Return what an object says about its value: a truth value or number, else the first text."""
    scalars = [value for value in values if not isinstance(value, dict | list)]
    plain = [value for value in scalars if not isinstance(value, str)]
    return _scalar(next(iter(plain or scalars), ""))


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return re.sub(r"\s+", " ", "none" if value is None else str(value))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _repaired(text: str) -> str:
    text = _TRAILING_COMMA.sub("", text)
    if '"' not in text:
        text = text.replace("'", '"')
    return _BARE_WORD.sub(r'\1"\2"', _BARE_KEY.sub(r'\1"\2"', text))


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles)
