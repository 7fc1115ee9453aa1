"""Template mbc: one run answers yes or no for each of the 20 values.

Prompts number the values and ask for 20 lines, "1. yes". Every one of the 20 must be answered, and
only one way: what was not said cannot be told from what was not reached. These forms are read, in
any mixture of the first two, with bullets, bold and reasons:

- value, then verdict: ``1. yes``, ``Face: no``, ``3. Stimulation (…) - does not apply``,
  ``| 8 | Face | ✓ |``, ``2-20: no``, ``All others: no``, ``{"Face": true}``; the verdict may follow
  below, or end what is said (``… so no.``)
- verdict, then values: ``Yes: 5, 9, 17``, ``No: 1-4, 6-8``, ``✗ Face``, or a verdict as the heading
  of a list
- 20 verdicts and nothing else, in the order of the values
- 0 and 1 in place of no and yes, where every value has one of them and not all have 1
- behind 20 answers a count or a summary that agrees with them: ``2 yes, 18 no``, ``Yes for 5 and 9;
  no for the rest``

A name beats the number before it. Numbers beyond 20 are passed over. Unparsed are a value that is
missing, hedged ("maybe", "partially") or answered both ways, second thoughts ("Wait, 3. should be
yes.") unless 20 new answers follow, and words for yes in other languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from valueeval.tasks.templates import json_answers
from valueeval.tasks.templates.answer_text import (
    CORRECTION,
    NAME,
    VALUE_OF,
    clean,
    letters,
    parts,
    without_descriptions,
    word_set,
    yes_no_columns,
)
from valueeval.tasks.templates.tokens import Token, tokenise
from valueeval.tasks.values import VALUES

# Words that may stand before a number ("Value 3:") or between a value and its verdict
# ("value: Face, answer: yes").
_LABELS = word_set(
    "value values number numbers nr question q item answer answers verdict decision result "
    "response label applies applicable present relevant is are id name clearly strongly definitely "
    "directly"
)
_LISTING = _LABELS | {"and"}
_AFTER_NO = word_set(
    "it this that these those they there he she i we you not the because since as really actually "
    "but although though unless if wait sorry one"
)
_DENIALS = word_set("not never neither hardly can't cannot don't doesn't isn't wouldn't won't")
_RESTART = re.compile(
    r"^[^\w\n]{0,8}(?:here (?:is|are) )?(?:the |my )?"
    r"(?:final|corrected|revised|updated|new) (?:answers?|list|version|marks?|assessment)\b"
    r"[^\w\n]{0,8}$",
    re.MULTILINE,
)
_COUNT = re.compile(r"\b(yes|no) ?\(\d{1,2}(?: values)?\)(?= ?:)")  # "No (19): 1-10, …"
# What may close an answer: "2 yes, 18 no.", "Yes: 2, No: 18", "Summary: yes for 5 and 9; no for
# the rest." None of the three is a list as the others are.
_SUM = (
    r"^[^\w\n]{0,8}(?:(?:so|thus|(?:in )?(?:total|summary|short|sum)|overall|count)\b[ :,*-]{1,4})?"
)
_TALLY = re.compile(
    rf"{_SUM}(?:(?P<yes>\d{{1,2}}) yes(?:es)?[ ,;/]{{1,3}}(?:and )?(?P<no>\d{{1,2}}) no(?:s|es)?"
    r"|yes ?[:=] ?(?P<all_yes>\d{1,2})[ ,;/\n]{1,3}(?:and )?no ?[:=] ?(?P<all_no>\d{1,2}))"
    r"\W{0,8}\Z",
    re.MULTILINE,
)
_SUMMARY = re.compile(
    rf"{_SUM}(?=(?:yes|no) (?:for|to|on) )(?P<said>[^\n]{{1,400}})\Z", re.MULTILINE
)
_SUMMED = re.compile(r"\b(yes|no) (?:for|to|on) ")
# The form that our prompts show, as an answer may repeat it.
_FORM = re.compile(
    r"^(?P<announced>[^\n]{0,400}\bform:\n)?[^\w\n]{0,4}1\. no\n[^\w\n]{0,4}2\. yes\n"
    r"[^\w\n]{0,4}3\. no\n(?:(?:and so on\b|\.\.\.)[^\n]*(?:\n|\Z)|(?(announced)\n|(?!)))",
    re.MULTILINE,
)
_DIGIT = re.compile(
    r"(?:^|[,;{|])[^\w\n]{0,8}(?:(?:value|question|item) ?)?"
    rf"(?:(?P<number>\d{{1,2}})(?:[^\w\n]{{1,6}}(?P<named>{NAME}))?|(?P<name>{NAME}))"
    r"[^\w\n]{1,8}(?P<digit>[01])(?=[^\w\n]{0,4}(?:$|[,;}|]))",
    re.MULTILINE,
)
_BARE_DIGITS = re.compile(r"\W*((?:[01]\W{1,6}){19}[01])\W*")
_ALL = range(len(VALUES))
_OTHERS = -2  # stands for all values that nothing else is said about
_LONGEST = 50_000  # characters, some twenty pages; what is longer answers nothing
_REACH = 16  # how many marks and labels may stand between a value and its verdict
_ASIDE = 60  # how long, in tokens, an aside in parentheses between them may be
_END = Token("line", "")

_Vote = tuple[int, bool]
_Votes = list[_Vote]


class _Entry(NamedTuple):
    """A place that answers about values: tokens ``begin`` (incl.) to the next entry's key."""

    key: int
    begin: int
    values: tuple[int, ...]


def parse(text: str) -> tuple[bool, ...] | None:
    """Read an answer of template mbc.

    Args:
        text: What the model generated.

    Returns:
        20 bools in the order of ``VALUES``, or ``None`` if the answer cannot be read.
    """
    plain = clean(text)
    if plain is None:
        return None
    for part in parts(_FORM.sub("", without_descriptions(plain))):
        restarts = list(_RESTART.finditer(part))
        votes = _read(part[restarts[-1].end() :]) if restarts else []
        votes = votes if _is_full(votes) else _read(part)
        if votes:
            return _decide(votes)
    return None


def gold(labels: Sequence[int]) -> str:
    """Return the right answer, 20 numbered lines, for labels (20 of 0 or 1)."""
    return "\n".join(f"{i}. {'yes' if label else 'no'}" for i, label in enumerate(labels, 1))


def _decide(votes: _Votes) -> tuple[bool, ...] | None:
    said = set(votes)
    if len(said) != len(VALUES) or not _is_full(votes):
        return None
    return tuple((value, True) in said for value in _ALL)


def _is_full(votes: _Votes) -> bool:
    return {value for value, _ in votes} == set(_ALL)


def _read(text: str) -> _Votes:
    """Return what is said about values, both ways where the answer contradicts itself."""
    if len(text) > _LONGEST:
        return []
    found = json_answers.find(text)
    if found and found[1]:
        before, data, after = found
        votes = _read_lines("\n".join([before, *json_answers.lines(data), after]))
        if _is_full(votes):
            return votes
    return _read_closed(text.rstrip()) or _read_lines(_COUNT.sub(r"\1", yes_no_columns(text)))


def _read_closed(text: str) -> _Votes:
    """Return what 20 answers say that a count or a summary closes, both ways if it disagrees."""
    closing = _TALLY.search(text) or _SUMMARY.search(text)
    if closing is None:
        return []
    votes = _read_lines(yes_no_columns(text[: closing.start()]))
    agrees = _agrees(closing, votes) if _decide(votes) else None
    if agrees is None:
        return []
    return votes if agrees else _both_ways(votes)


def _agrees(closing: re.Match[str], votes: _Votes) -> bool | None:
    """Return whether a count or summary agrees with votes; ``None`` if it is neither after all."""
    if closing.re is _SUMMARY:
        if any(token.kind == "hedge" for token in tokenise(closing["said"])):
            return False
        summed = _summed(closing["said"])
        return set(summed) <= set(votes) if summed else None
    yes, no = (int(count) for count in closing.groups() if count)
    return sum(verdict for _, verdict in set(votes)) == yes if yes + no == len(VALUES) else None


def _summed(text: str) -> _Votes:
    """Return what a summary says, "yes for 5 and 9; no for the rest"; nothing if it says more."""
    pieces = _SUMMED.split(text)[1:]
    lists = [list(tokenise(listed)) for listed in pieces[1::2]]
    if not all(_lists_values(_said(tokens)) for tokens in lists):
        return []
    return _with_others(
        [
            (value, verdict == "yes")
            for verdict, tokens in zip(pieces[::2], lists, strict=True)
            for value in _listed(tokens)
        ]
    )


def _both_ways(votes: _Votes) -> _Votes:
    """Return votes with their opposites: they are in doubt."""
    return votes + [(value, not verdict) for value, verdict in votes]


def _read_lines(text: str) -> _Votes:
    digits = _by_digit(text)
    if digits:
        return digits
    tokens = list(tokenise(text))
    keyed, listed, bare = _by_key(tokens), _by_verdict(tokens), _bare(tokens)
    if _is_full(_with_others(keyed)):
        votes = _with_others(keyed) + [vote for vote in listed if vote[0] != _OTHERS]
    elif _is_full(_with_others(listed)):
        votes = _with_others(listed)
    elif _is_full(_with_others(keyed + listed)):
        votes = _with_others(keyed + listed)
    else:
        votes = bare or keyed + listed
    if CORRECTION.search(text):
        votes = _both_ways(votes)
    return votes


def _with_others(votes: _Votes) -> _Votes:
    """Return votes with those about "all others" spread over the values that have none."""
    named = {value for value, _ in votes}
    others = [verdict for value, verdict in votes if value == _OTHERS]
    if named <= {_OTHERS}:
        return []
    spread = [(value, verdict) for verdict in others for value in _ALL if value not in named]
    return [(value, verdict) for value, verdict in votes if value in _ALL] + spread


# ------------------------------------------------------------------------------ value, verdict


def _by_key(tokens: list[Token]) -> _Votes:
    """Return the verdicts that follow the number or name of their value."""
    tokens = [*tokens, _END]
    entries = list(_entries(tokens))
    ends = [entry.key for entry in entries] + [len(tokens)]
    votes = []
    for entry, end in zip(entries, ends[1:], strict=True):
        verdict = _verdict(tokens[entry.begin : end])
        if verdict is not None:
            votes += [(value, verdict) for value in entry.values if value in (*_ALL, _OTHERS)]
    return votes


def _entries(tokens: list[Token]) -> Iterator[_Entry]:
    opening = True  # nothing but marks and labels since the line began
    named = -1  # a name that has been used with the number before it
    for index, token in enumerate(tokens):
        if token.kind in ("number", "all"):
            entry = _numbered(tokens, index, opening)
        elif token.kind == "name" and index != named:
            entry = _named(tokens, index, token.values, opening)
        elif token.kind == "others":
            entry = _named(tokens, index, (_OTHERS,), opening=False)
        else:
            entry = None
        if entry:
            yield entry
            named = entry.begin - 1
        opening = token.kind == "line" or (opening and _is_filler(token))


def _numbered(tokens: list[Token], index: int, opening: bool) -> _Entry | None:
    values, after = tokens[index].values, _skip(tokens, index + 1)
    parted, follows = after > index + 1, _at(tokens, after)
    if not (opening or parted or _separated(tokens, index)):
        return None
    if follows.kind == "name" and len(values) == 1:
        return _Entry(index, after + 1, follows.values)
    answered = follows.kind == "verdict" and (parted or _closed(tokens, after))
    if answered or (opening and (parted or follows.kind == "line")):
        return _Entry(index, index + 1, values)
    return None


def _named(
    tokens: list[Token], index: int, values: tuple[int, ...], opening: bool
) -> _Entry | None:
    after = _skip(tokens, index + 1)
    answered = _at(tokens, after).kind == "verdict" and (
        after > index + 1 or (_separated(tokens, index) and _closed(tokens, after))
    )
    return _Entry(index, index + 1, values) if opening or answered else None


def _verdict(entry: list[Token]) -> bool | None:
    """Return what one entry says: the verdict after the value, else the one that closes it."""
    first = _first(entry)
    if _is_heading(entry, first):
        return None
    if _at(entry, first).kind == "verdict":
        return _leading_verdict(entry, first)
    labelled = _labelled(entry)
    if labelled is not None:
        return labelled
    paragraph = _paragraph(entry)
    places = [i for i, token in enumerate(paragraph) if token.kind == "verdict"]
    if len({paragraph[i].verdict for i in places}) != 1:
        return None
    last, verdict = places[-1], paragraph[places[-1]].verdict
    before = [token.text for token in paragraph[:last] if not _is_filler(token)]
    doubted = before[-1:] == ["not"] or (verdict and not _DENIALS.isdisjoint(before))
    if doubted or _is_hedged(paragraph, last):
        return None  # "not no", "I would not say yes"
    alone = last > 0 and paragraph[last - 1].kind == _at(paragraph, last + 1).kind == "mark"
    closes = all(token.kind == "mark" for token in _line(paragraph, last + 1))
    return verdict if closes or (alone and len(places) == 1) else None


def _labelled(entry: list[Token]) -> bool | None:
    """Return the verdict of the only line that says "Answer: yes", wherever it stands."""
    verdicts = set()
    for line in list(_lines(entry))[1:]:
        said = [token for token in line if not _is_filler(token)]
        label = [token for token in line if token.text in _LABELS]
        if label and [token.kind for token in said] == ["verdict"] and line.index(label[0]) < 4:
            verdicts.add(said[0].verdict)
    return verdicts.pop() if len(verdicts) == 1 else None


def _is_heading(entry: list[Token], index: int) -> bool:
    """Return whether a verdict on a line below heads other values: "No:", "[x] 2. Face"."""
    if not any(token.kind == "line" for token in entry[:index]):
        return False
    line = _line(entry, index + 1)
    heads_line = len(line) == len(entry) - index - 1  # the next value stands on the same line
    return heads_line or [token.text for token in line] == [":"]


def _leading_verdict(entry: list[Token], index: int) -> bool | None:
    """Return the verdict at ``index`` unless what follows on its line takes it back."""
    verdict = entry[index].verdict
    line = [token for token in _line(entry, index + 1) if token.text not in ("or", "and")]
    line = _without_no(line, cell=_at(entry, index + 1).text == "|")
    words = [token for token in line if token.kind != "mark"]
    for other in words[:1] + words[-1:]:  # "yes/no", "yes and no", "yes … so no"
        if other.kind == "verdict" and other.verdict != verdict:
            return None
    return None if _is_hedged(entry, index) else verdict


def _without_no(line: list[Token], cell: bool) -> list[Token]:
    """Return the rest of a line without a "no" or "false" that goes with the noun after it.

    That is so in the next cell of a table ("| yes | no harm is wanted |") and in the next sentence
    ("yes. no person should be left behind"); "no it is not" is a verdict.
    """
    marks = 0
    while _at(line, marks).kind == "mark":
        marks += 1
    first, noun = _at(line, marks), _at(line, marks + 1)
    ended = cell or [token.text for token in line[:marks]] == ["."]
    goes_with_it = noun.kind == "word" and noun.text not in _AFTER_NO
    return line[marks + 1 :] if ended and first.text in ("no", "false") and goes_with_it else line


def _is_hedged(tokens: list[Token], index: int) -> bool:
    """Return whether doubt stands next to a verdict: "partially yes", "yes (maybe)", "no?"."""
    before = [token for token in tokens[max(index - _REACH, 0) : index] if not _is_filler(token)]
    after = tokens[_skip(tokens, index + 1) : index + _REACH]
    asked = _at(tokens, index + 1).text == "?"
    return asked or any(token.kind == "hedge" for token in before[-1:] + after[:1])


def _first(entry: list[Token]) -> int:
    """Return where a verdict right after the value would stand: past marks, labels, an aside."""
    index = _skip(entry, 0)
    if index and entry[index - 1].text == "(":
        aside = [token.text for token in entry[index : index + _ASIDE]]
        if ")" in aside and _at(entry, index).kind != "verdict":
            index = _skip(entry, index + aside.index(")") + 1)
    for _ in range(2):  # the verdict may stand on the next line, or after an empty one
        if _at(entry, index).kind == "line":
            index = _skip(entry, index + 1)
    return index


# ------------------------------------------------------------------------------ verdict, values


def _by_verdict(tokens: list[Token]) -> _Votes:
    """Return what lists after a verdict say: "✓ Face", "Yes: 2, 5 / No: 1, 3-4", a heading."""
    votes: _Votes = []
    heading: list[Token] = []  # a verdict on a line of its own, until values follow
    under: Token | None = None  # the heading of the values that come
    for line in _lines(tokens):
        said = [token for token in line if token.kind != "mark" and token.text not in _LISTING]
        if not said:
            continue
        values = [_listed(line)] if _lists_values(said) else []
        if said[0].kind == "verdict" and len(said) == 1:
            if heading:
                return []  # which value is it about?
            heading, under = [said[0]], said[0]
        elif said[0].kind == "verdict":
            pieces = list(_after_verdicts(line))
            if heading or not all(_lists_values(_said(piece)) for _, piece in pieces):
                heading, under = [], None
                continue
            under = None
            for verdict, piece in pieces:
                votes += [(value, bool(verdict.verdict)) for value in _listed(piece)]
        elif under and values:
            heading = []
            votes += [(value, bool(under.verdict)) for value in values[0]]
        else:
            heading, under = [], None
    return [] if heading else votes


def _said(tokens: list[Token]) -> list[Token]:
    return [token for token in tokens if token.kind != "mark" and token.text not in _LISTING]


def _lists_values(said: list[Token]) -> bool:
    return bool(said) and {token.kind for token in said} <= {"number", "name", "others", "all"}


def _after_verdicts(line: list[Token]) -> Iterator[tuple[Token, list[Token]]]:
    """Yield each verdict of a line with the tokens that follow it up to the next."""
    places = [index for index, token in enumerate(line) if token.kind == "verdict"]
    for begin, end in zip(places, [*places[1:], len(line)], strict=True):
        yield line[begin], line[begin + 1 : end]


def _listed(line: list[Token]) -> tuple[int, ...]:
    """Return the values that a line lists; a number before a name only counts it: "1. Face"."""
    values: list[int] = []
    for index, token in enumerate(line):
        following = _at(line, _skip(line, index + 1)).kind
        if token.kind == "others":
            values.append(_OTHERS)
        elif token.kind in ("name", "all") or (token.kind == "number" and following != "name"):
            values += [value for value in token.values if value in _ALL]
    return tuple(values)


# ------------------------------------------------------------------------- verdicts or digits alone


def _bare(tokens: list[Token]) -> _Votes:
    """Return 20 verdicts in the order of the values, after at most a line that announces them."""
    lines = [line for line in _lines(tokens) if line]
    if lines and lines[0][-1].text == ":":
        lines = lines[1:]
    said = [token for line in lines for token in line if token.kind != "mark"]
    if len(said) != len(VALUES) or any(token.kind != "verdict" for token in said):
        return []
    return [(value, bool(token.verdict)) for value, token in enumerate(said)]


def _by_digit(text: str) -> _Votes:
    """Return 0 and 1 as no and yes, where each value has one; all 1 may be a rating or a count."""
    bare = _BARE_DIGITS.fullmatch(text)
    if bare:
        votes = [(v, digit == "1") for v, digit in enumerate(re.findall(r"[01]", bare[1]))]
    else:
        votes = [
            (VALUE_OF[letters(name)] if name else int(match["number"]) - 1, match["digit"] == "1")
            for match in _DIGIT.finditer(text)
            for name in (match["named"] or match["name"],)
        ]
    return votes if _is_full(votes) and not all(verdict for _, verdict in votes) else []


# ------------------------------------------------------------------------------------- tokens


def _at(tokens: list[Token], index: int) -> Token:
    return tokens[index] if index < len(tokens) else _END


def _is_filler(token: Token) -> bool:
    return token.kind == "mark" or token.text in _LABELS


def _skip(tokens: list[Token], index: int) -> int:
    """Return the index of the next token that is neither a mark nor a label, within reach."""
    for step in range(index, index + _REACH):
        if not _is_filler(_at(tokens, step)):
            return step
    return index


def _separated(tokens: list[Token], index: int) -> bool:
    before = tokens[index - 1] if index else _END
    return before.kind in ("line", "verdict") or before.text in tuple(",;|{[(")


def _closed(tokens: list[Token], index: int) -> bool:
    return _at(tokens, index + 1).kind in ("mark", "line", "number")


def _line(tokens: list[Token], index: int) -> list[Token]:
    """Return the tokens from ``index`` to the end of its line."""
    for end in range(index, len(tokens)):
        if tokens[end].kind == "line":
            return tokens[index:end]
    return tokens[index:]


def _paragraph(tokens: list[Token]) -> list[Token]:
    """Return the tokens before the first empty line."""
    for end in range(1, len(tokens)):
        if tokens[end - 1].kind == tokens[end].kind == "line":
            return tokens[: end - 1]
    return tokens


def _lines(tokens: list[Token]) -> Iterator[list[Token]]:
    line: list[Token] = []
    for token in [*tokens, _END]:
        if token.kind == "line":
            yield line
            line = []
        else:
            line.append(token)
