"""Turn an answer in JSON into lines that the readers of templates mbc and cot know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from valueeval.tasks.templates.answer_text import NAME, letters, word_set
from valueeval.tasks.templates.rows import FAMILIES
from valueeval.tasks.templates.tokens import is_verdict, tokenise

_BEGIN = re.compile(r"[{\[](?=\s{0,40}[\[{\"'\w}\]])")
_DEEPEST = 20
_KEY = re.compile(rf"\W*(?:{NAME}|(?:value|item|question)?[ _]?\d{{1,2}})\W*")
_LABELS = word_set("id name value number nr no index key question item label")
_FINAL = word_set(
    "final_answer finalanswer final answer answers values final_values value_list result results"
)
# Keys, by their letters, under which an object answers about its value, and under which it only
# says how sure it is, or of what kind the answer is.
_ANSWER = word_set(
    "answer verdict present ispresent applies applicable isapplicable label decision relevant "
    "isrelevant held isheld holds response judgement judgment prediction included supported yesno "
    "yesorno appliestoargument inline aligned"
)
_ASIDE = word_set("confidence certainty probability explicit implicit direct indirect primary core")
# What keys of lists are made of: {"held": […], "values_not_present": […]}.
_REJECTED = word_set(
    "no not non none absent irrelevant inapplicable rejected excluded dismissed discarded denied "
    "false missing unrelated unsupported unmentioned negative"
)
_HELD = word_set(
    "yes held present relevant applicable applies apply included supported mentioned expressed "
    "selected accepted identified chosen true positive primary secondary main key additional"
)
_NEUTRAL = word_set("value values answer answers list the of in argument final that do does")
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
    """Return what an object holds as its final answer; the object itself if it names none.

    Lists under keys that say yes or no are its answer, whatever stands beside them.
    """
    if not isinstance(found, dict) or any(_KEY.fullmatch(key) for key in found):
        return found
    for key in sorted(found, key=lambda key: not key.startswith("final")):
        if re.sub(r"[^\w]+", "_", key) in _FINAL:
            return found[key]
    headed = {key: value for key, value in found.items() if _heading(key) is not None}
    lists = any(isinstance(value, list) for value in headed.values())
    others = [value for key, value in found.items() if key not in headed]
    return headed if lists and not any(map(_names_values, others)) else found


def lists_at_odds(found: Any, depth: int = _DEEPEST) -> bool:
    """Return whether lists stand beside each other and the key of one says neither yes nor no."""
    if isinstance(found, list):
        return depth > 0 and any(lists_at_odds(item, depth - 1) for item in found)
    if not isinstance(found, dict):
        return False
    lists = [key for key, value in found.items() if _names_values(value) and not _KEY.match(key)]
    unknown = any(_heading(key) is None and key not in FAMILIES for key in lists)
    return (unknown and len(lists) > 1) or lists_at_odds(list(found.values()), depth)


def _names_values(found: Any) -> bool:
    return isinstance(found, dict | list) and re.search(NAME, str(found)) is not None


def lines(found: Any, depth: int = _DEEPEST) -> Iterator[str]:
    """Yield one line for each thing said: ``name: verdict``, or a list's item by itself.

    What stands in a list says yes or no if the list's key does: ``{"not_held": ["Face"]}``.
    """
    if isinstance(found, dict):
        record = _record(found)
        if record:
            yield record
            return
        for key, value in found.items():
            if isinstance(value, dict) and _KEY.fullmatch(key):
                yield f"{key}: {_answer(value)}"
            elif not isinstance(value, dict | list):
                yield f"{key}: {_scalar(value)}"
            elif depth:
                yield from _under(_heading(key), lines(value, depth - 1))
    elif isinstance(found, list):
        for item in found if depth else ():
            yield from lines(item, depth - 1)
    else:
        yield _scalar(found)


def _heading(key: str) -> bool | None:
    """Return what a key says of the list under it; ``None`` if it says neither, or might both."""
    words = re.findall(r"[^\W\d_]+", key)
    denials = [word for word in words if word in _REJECTED]
    if len(denials) > 1 or not set(words) <= _REJECTED | _HELD | _NEUTRAL:
        return None
    return False if denials else (not _HELD.isdisjoint(words) or None)


def _under(heading: bool | None, found: Iterable[str]) -> Iterator[str]:
    """Yield lines with what the key above them says of the values that they name."""
    items = list(found)
    if heading is None or set(items) <= {"0", "1"}:  # verdicts themselves
        yield from items
        return
    for item in items:
        names = re.findall(NAME, item)
        if heading:
            yield f"{item}: yes" if _KEY.fullmatch(item) else item
        elif item.endswith(": yes"):
            yield f"{item}?"  # {"rejected": {"Face": true}}
        elif len(names) > 1:
            yield f"no: {item}"
        elif item not in ("", "none"):
            yield f"{names[0] if names else item}: no"


def _record(found: dict[str, Any]) -> str | None:
    """Return the line of an object such as ``{"value": "Face", "answer": "yes"}``."""
    if any(_KEY.fullmatch(key) for key in found):
        return None
    names = [
        value
        for key, value in found.items()
        if key in _LABELS and type(value) in (str, int) and _KEY.fullmatch(str(value))
    ]
    others = {
        key: value
        for key, value in found.items()
        if key not in _LABELS or (key == "label" and str(value) not in map(str, names))
    }
    if not names or not others:
        return None
    return f"{names[-1]}: {_answer(others)}"


def _answer(found: dict[str, Any]) -> str:
    """Return what an object says about its value.

    That is what stands under a key such as "answer"; else a text that is nothing but a verdict,
    else a truth value, else a number, else the first text. Two answers that contradict are unclear.
    """
    scalars = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
    answers = [_scalar(value) for key, value in scalars.items() if letters(key) in _ANSWER]
    if {True, False} <= set(map(_verdict, answers)):
        return "unclear"
    answers.sort(key=lambda answer: _verdict(answer) is None)
    rest = [value for key, value in scalars.items() if letters(key) not in _ASIDE]
    rest = rest or [value for value in scalars.values() if not isinstance(value, bool)]
    texts = [value for value in rest if isinstance(value, str)]
    truths = [value for value in rest if isinstance(value, bool)]
    numbers = [value for value in rest if not isinstance(value, bool | str | None)]
    verdicts = [text for text in texts if is_verdict(text)]
    return _scalar(next(iter([*answers, *verdicts, *truths, *numbers, *texts]), ""))


def _verdict(text: str) -> bool | None:
    """Return what a text begins with: yes, no, or ``None`` if it is something else."""
    first = next((token for token in tokenise(text) if token.kind != "mark"), None)
    if first is None:
        return None
    return {"0": False, "1": True}.get(first.text, first.verdict)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and 0 <= value <= 1:  # how likely it is, or how strong
        return str(round(value)) if value in (0, 1) else str(value) if value > 0.5 else "unclear"
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
