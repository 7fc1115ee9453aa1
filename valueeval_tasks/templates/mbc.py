"""Template mbc: one run answers yes or no for each of the 20 values.

Prompts number the values and ask for 20 lines, "1. yes". What :func:`parse` reads beyond that is
said there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from valueeval.tasks.templates.answer_text import NAME, VALUE_OF, clean, letters, parts, word_set
from valueeval.tasks.values import VALUES

_TOKEN = re.compile(
    rf"(?P<name>{NAME})"
    r"|(?P<mark_of_number>^[^\w\n]{0,8}(?:(?:value|question|item) )?no\. {0,2}(?=\d))"
    r"|(?P<number>(?<!\d)\d{1,2}(?!\d))"
    r"|(?P<other>\d+|n[./] ?a\b|no (?:one|doubt|matter|longer|less|more)\b)"
    r"|(?P<yes>(?<![^\W_])(?:yes|yeah|yep|y|true)(?![^\W_]|'\w)|\[[xy✓✔]\]|[✓✔✅☑👍])"
    r"|(?P<no>(?<![^\W_])(?:no|nope|nah|n|false)(?![^\W_]|'\w)|\[ {0,3}\]|[✗✘❌✖☐☒👎])"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)*)"
    r"|(?P<line>\n)"
    r"|(?P<mark>[^\s\w]|_)",
    re.MULTILINE,
)
# Words that may stand before a number ("Value 3:") or between a value and its verdict
# ("value: Face, answer: yes").
_LABELS = word_set(
    "value values number nr question q item answer verdict decision result response label "
    "applies present is id name"
)
_LISTING = _LABELS | {"and"}
_DENIALS = word_set("not never neither hardly can't cannot don't doesn't isn't wouldn't won't")
_DESCRIPTIONS = re.compile(
    "|".join(sorted((re.escape(v.short.lower()) for v in VALUES), key=len, reverse=True))
)
_KIND = {"other": "word", "mark_of_number": "mark"}
_VALUES = range(len(VALUES))
_REACH = 16  # how many marks and labels may stand between a value and its verdict
_ASIDE = 60  # how long, in tokens, an aside in parentheses between them may be


class _Token(NamedTuple):
    kind: str  # number, name, verdict, word, line, mark
    text: str
    number: int = 0  # a number's; a name's index in VALUES; a verdict's truth


_END = _Token("line", "")


class _Entry(NamedTuple):
    """A place that answers about one value: tokens ``begin`` (incl.) to the next entry's key."""

    key: int
    begin: int
    value: int


_Votes = list[tuple[int, bool]]


def parse(text: str) -> tuple[bool, ...] | None:
    """Reads an answer of template mbc.

    Every one of the 20 values must be answered, and only one way. An answer to some of them
    (truncated, or a list of those that apply) is unparsed, since what was not said cannot be told
    from what was not reached; so is one that says yes and no about the same value.

    Read are, for each value, its number in the prompt or its name (the name, where both stand and
    differ), with yes, no, y, n, true, false or a tick or cross: a line each, or all in one line, as
    JSON, as a table, with descriptions before and reasons after the verdict (or before it, where
    it ends a line and is the only one), verdict first ("✓ Face", "No: 2, 5, 7"); also exactly 20
    verdicts and nothing else. Numbers beyond 20 are no values and are passed over. A prompt
    repeated before the answer and further examples after it are passed over. Maybe, 0 and 1, and
    other languages' words for yes are not read.

    Args:
        text: What the model generated.

    Returns:
        20 bools in the order of ``VALUES``, or ``None`` if the answer cannot be read.
    """
    plain = clean(text)
    if plain is None:
        return None
    for part in parts(_DESCRIPTIONS.sub(" ", plain)):
        tokens = list(_tokens(part))
        forms = [_by_key(tokens), _by_verdict(tokens), _bare(tokens)]
        if any(forms):
            return _decide(forms)
    return None


def gold(labels: Sequence[int]) -> str:
    """The right answer, 20 numbered lines, for labels (20 of 0 or 1) in the order of ``VALUES``."""
    return "\n".join(f"{i}. {'yes' if label else 'no'}" for i, label in enumerate(labels, 1))


def _decide(forms: list[_Votes]) -> tuple[bool, ...] | None:
    """The answer of the first form that answers in full; ``None`` if it, or the next, objects."""
    keyed, listed, _ = forms
    if _is_full(keyed):
        said = {*keyed, *listed}
    else:
        said = next(({*votes} for votes in forms if _is_full(votes)), set())
    if len(said) != len(VALUES):
        return None
    return tuple((value, True) in said for value in _VALUES)


def _is_full(votes: _Votes) -> bool:
    return len({value for value, _ in votes}) == len(VALUES)


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind, found = str(match.lastgroup), match.group()
        if kind == "name":
            yield _Token("name", found, VALUE_OF[letters(found)])
        elif kind == "number":
            yield _Token("number", found, int(found))
        elif kind in ("yes", "no"):
            yield _Token("verdict", found, kind == "yes")
        else:
            yield _Token(_KIND.get(kind, kind), found)


def _at(tokens: list[_Token], index: int) -> _Token:
    return tokens[index] if index < len(tokens) else _END


def _skip(tokens: list[_Token], index: int) -> int:
    """The next token that is neither a mark nor a label, within reach."""
    for step in range(index, index + _REACH):
        token = _at(tokens, step)
        if token.kind != "mark" and token.text not in _LABELS:
            return step
    return index


def _by_key(tokens: list[_Token]) -> _Votes:
    """Verdicts that follow the number or name of their value."""
    entries = list(_entries(tokens))
    ends = [entry.key for entry in entries] + [len(tokens)]
    votes = []
    for entry, end in zip(entries, ends[1:], strict=True):
        verdict = _verdict(tokens[entry.begin : end])
        if verdict is not None and entry.value in _VALUES:
            votes.append((entry.value, verdict))
    return votes


def _entries(tokens: list[_Token]) -> Iterator[_Entry]:
    opening = True  # nothing but marks and labels since the line began
    named = -1  # a name that has been used with the number before it
    for index, token in enumerate(tokens):
        if token.kind == "number":
            entry = _numbered(tokens, index, opening)
        elif token.kind == "name" and index != named:
            entry = _named(tokens, index, opening)
        else:
            entry = None
        if entry:
            yield entry
            named = entry.begin - 1
        opening = token.kind == "line" or (
            opening and (token.kind == "mark" or token.text in _LABELS)
        )


def _numbered(tokens: list[_Token], index: int, opening: bool) -> _Entry | None:
    number, after = tokens[index].number, _skip(tokens, index + 1)
    parted, follows = after > index + 1, _at(tokens, after)
    if not (opening or parted or _separated(tokens, index)):
        return None
    if follows.kind == "name":
        return _Entry(index, after + 1, follows.number)
    answered = follows.kind == "verdict" and (parted or _closed(tokens, after))
    if answered or (opening and (parted or follows.kind == "line")):
        return _Entry(index, index + 1, number - 1)
    return None


def _named(tokens: list[_Token], index: int, opening: bool) -> _Entry | None:
    after = _skip(tokens, index + 1)
    parted = after > index + 1
    answered = _at(tokens, after).kind == "verdict" and (
        parted or (_separated(tokens, index) and _closed(tokens, after))
    )
    return _Entry(index, index + 1, tokens[index].number) if opening or answered else None


def _separated(tokens: list[_Token], index: int) -> bool:
    before = tokens[index - 1] if index else _END
    return before.kind in ("line", "verdict") or before.text in tuple(",;|{[(")


def _closed(tokens: list[_Token], index: int) -> bool:
    return _at(tokens, index + 1).kind in ("mark", "line", "number")


def _verdict(entry: list[_Token]) -> bool | None:
    """The verdict of one entry: what directly follows the value, else the only one if it closes."""
    first = _first(entry)
    if _at(entry, first).kind == "verdict":
        verdict = entry[first]
        line = [token for token in _line(entry, first + 1) if token.text not in ("or", "and")]
        words = [token for token in line if token.kind != "mark"]
        for other in words[:1] + words[-1:]:  # "yes/no", "yes and no", "yes … so no"
            if other.kind == "verdict" and other.number != verdict.number:
                return None
        return bool(verdict.number)
    paragraph = _paragraph(entry)
    verdicts = [i for i, token in enumerate(paragraph) if token.kind == "verdict"]
    if len(verdicts) != 1:
        return None
    (only,) = verdicts
    if paragraph[only].number and any(token.text in _DENIALS for token in paragraph[:only]):
        return None  # "I would not say yes"
    alone = only > 0 and paragraph[only - 1].kind == _at(paragraph, only + 1).kind == "mark"
    last = all(token.kind == "mark" for token in _line(paragraph, only + 1))
    return bool(paragraph[only].number) if alone or last else None


def _first(entry: list[_Token]) -> int:
    """Where a verdict directly after the value would stand: past marks, labels, an aside."""
    index = _skip(entry, 0)
    if index and entry[index - 1].text == "(":
        aside = [token.text for token in entry[index : index + _ASIDE]]
        if ")" in aside and _at(entry, index).kind != "verdict":
            index = _skip(entry, index + aside.index(")") + 1)
    for _ in range(2):  # the verdict may stand on the next line, or after an empty one
        if _at(entry, index).kind == "line":
            index = _skip(entry, index + 1)
    return index


def _line(tokens: list[_Token], index: int) -> list[_Token]:
    """The tokens from ``index`` to the end of its line."""
    for end in range(index, len(tokens)):
        if tokens[end].kind == "line":
            return tokens[index:end]
    return tokens[index:]


def _paragraph(tokens: list[_Token]) -> list[_Token]:
    """The tokens before the first empty line."""
    for end in range(1, len(tokens)):
        if tokens[end - 1].kind == tokens[end].kind == "line":
            return tokens[: end - 1]
    return tokens


def _by_verdict(tokens: list[_Token]) -> _Votes:
    """Lines that begin with a verdict, followed by nothing but values: "✓ Face", "No: 2, 5"."""
    votes: _Votes = []
    for line in _lines(tokens):
        said = [t for t in line if t.kind != "mark" and t.text not in _LISTING]
        kinds = {token.kind for token in said[1:]}
        if not said or said[0].kind != "verdict":
            continue
        if not kinds:  # a verdict on a line of its own: which value is it about?
            return []
        if kinds <= {"number", "name"}:
            votes += [(v, bool(said[0].number)) for v in _listed(line) if v in _VALUES]
    return votes


def _listed(line: list[_Token]) -> Iterator[int]:
    """The values that a line lists; a number before a name only counts it: "1. Face"."""
    for index, token in enumerate(line):
        if token.kind == "name":
            yield token.number
        elif token.kind == "number":
            counts = _at(line, index + 1).kind == "name" or (
                _at(line, index + 1).text in tuple(".):") and _at(line, index + 2).kind == "name"
            )
            if not counts:
                yield token.number - 1


def _lines(tokens: list[_Token]) -> Iterator[list[_Token]]:
    line: list[_Token] = []
    for token in [*tokens, _END]:
        if token.kind == "line":
            yield line
            line = []
        else:
            line.append(token)


def _bare(tokens: list[_Token]) -> _Votes:
    """Exactly 20 verdicts, in the order of the values, after at most a line that announces them."""
    lines = [line for line in _lines(tokens) if line]
    if lines and lines[0][-1].text == ":":
        lines = lines[1:]
    said = [token for line in lines for token in line if token.kind != "mark"]
    if len(said) != len(VALUES) or any(token.kind != "verdict" for token in said):
        return []
    return [(value, bool(token.number)) for value, token in enumerate(said)]
