"""Template cot: one run that reasons and ends in a list of values.

Prompts ask for a last line "Final answer: " with names of values, separated by semicolons, or
none. What :func:`parse` reads beyond that is said there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from valueeval.tasks.templates.answer_text import NAME, VALUE_OF, clean, letters, parts, word_set
from valueeval.tasks.values import VALUE_NAMES, VALUES

# "Final answer" with a colon, a verb or nothing but a line end after it. Our own prompts quote the
# words, or say what should follow: that is no answer.
_MARKER = re.compile(
    r"\bfinal[ _-]{1,2}(?:answers?|lists?|values?)\b(?!:\")(?: of values\b)?"
    r"[\"'* )]{0,4}(?:[:=]|\b(?:is|are)\b:?|- |(?=\n))(?! the names of)"
)
# Weaker words mark a list only at the beginning of a line, where no final answer is marked.
_WEAK_MARKER = re.compile(r"^[^\w\n]{0,8}(?:answers?|(?:the )?values?)[\"'* )]{0,4}:", re.MULTILINE)

_JSON = re.compile(
    r"[\s:\"']{0,40}(?:json\b\s{0,8})?"
    r"(?:(?P<object>\{)\s{0,40}[\"']\w{1,40}[\"']\s{0,8}:\s{0,8})?"
    r"\[(?P<items>[^\[\]{}]*)(?P<end>\]?)"
)
_BULLET = re.compile(r" {0,12}(?:[-*+•·▪◦‣➢→✓✔✅]|\(?\d{1,2}[.):])(?: {1,4}|(?=\W)|$)")
_ASIDE = re.compile(r"\([^()\n]*\)")
_MARKUP = re.compile(r"\\[a-z]{1,12}|[{}$]")
_WRAPPED = re.compile(r"(?<=[,;])\n(?! {0,12}(?:[-*+•]|\(?\d))")
_SENTENCE_END = re.compile(r"(?<!\d)\.(?=\s|$)|\n")
_SEPARATOR = re.compile(r"[,;|/•·&]|\band\b")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_NAME = re.compile(NAME)

_SMALL_WORDS = frozenset({"the", "value", "values", "of"})
_LEAD_IN = _SMALL_WORDS | word_set(
    "argument is are rests relies based on upon appeals to behind this it that following these "
    "include includes"
)
_NOTHING = word_set(
    "none no nothing of the value values these them above listed list 20 apply applies here"
)
_DENIALS = word_set("no not none absent false never without isn't doesn't irrelevant")
_BROKEN_NAME = 2  # words at most; what follows a list and is longer is a sentence


def _by_words() -> dict[frozenset[str], int]:
    """A value by the words of its name; by the second half alone too, no two of which are alike."""
    known = {}
    for index, name in enumerate(VALUE_NAMES):
        _, colon, second = name.lower().partition(": ")
        known[frozenset(_WORD.findall(name.lower()))] = index
        if colon:
            known[frozenset({second})] = index
    return known


_BY_WORDS = _by_words()


def parse(text: str) -> tuple[bool, ...] | None:
    """Reads an answer of template cot.

    Only the list after the last "Final answer" counts (also final list, final values; where there
    is none, a line that begins with "Answer:" or "Values:"): the rest of that line, or the lines
    below it, or a JSON list. An answer without one is unparsed, be it truncated or a refusal. In a
    prompt repeated before the answer, and in further examples after it, nothing is looked for.

    A value is named by its name in any hyphenation and punctuation ("universalism - nature",
    "Benevolence (caring)"), by the same words in another order ("personal security"), or by the
    second half alone ("objectivity"), which only one value has. The first half alone
    ("Security") fits several values; numbers, other words and unfinished lists fit none: one such
    item, and the whole answer is unparsed. Passed over are numbers before names, reasons in
    parentheses and, in bulleted lists, after the name; sentences after the list. "none" means no
    value, unless values stand beside it.

    Args:
        text: What the model generated.

    Returns:
        20 bools in the order of ``VALUES``, or ``None`` if the answer cannot be read.
    """
    plain = clean(text)
    if plain is None:
        return None
    for part in parts(plain):
        markers = list(_MARKER.finditer(part)) or list(_WEAK_MARKER.finditer(part))
        if markers:
            named = _read(part[markers[-1].end() :])
            return None if named is None else tuple(v in named for v in range(len(VALUES)))
    return None


def gold(labels: Sequence[int]) -> str:
    """A right answer for labels (20 of 0 or 1) in the order of ``VALUES``.

    Its reasoning says what the labels say, in the words of the values' descriptions.
    """
    held = [value for value, label in zip(VALUES, labels, strict=True) if label]
    if not held:
        return "The argument appeals to none of the values.\nFinal answer: none"
    reasons = [f"- {value.short} ({value.name})" for value in held]
    names = "; ".join(value.name for value in held)
    return "\n".join(["The argument appeals to:", *reasons, f"Final answer: {names}"])


def _read(rest: str) -> set[int] | None:
    """The values listed in what follows a marker; ``None`` if that is no readable list."""
    json = _JSON.match(rest)
    if json:
        items = json["items"].strip().removesuffix(",")
        return (_read_items(items) if items else set()) if json["end"] else None
    rest = _WRAPPED.sub(" ", _MARKUP.sub(" ", rest))
    line, _, below = rest.partition("\n")
    block = below.lstrip("\n ")
    if _BULLET.match(block) and not _WORD.search(line):
        return _read_bullets(block.split("\n"))
    return _read_sentences(rest)


def _read_sentences(text: str) -> set[int] | None:
    """A list, which may go on in further sentences or lines; what is no list after it is prose."""
    named: set[int] | None = None
    for sentence in _SENTENCE_END.split(_without_asides(text)):
        length = len(_WORD.findall(sentence))
        if not length:
            continue
        found = _read_items(_without_lead_in(sentence) if named is None else sentence)
        if found is None:
            return named if length > _BROKEN_NAME else None
        if named is not None and bool(named) != bool(found):  # "none", but also a value
            return None
        named = found | (named or set())
    return named


def _read_items(text: str) -> set[int] | None:
    """The values in a list of names, none left over; empty if it says that there is none."""
    if _says_none(text):
        return set()
    *items, last = [item.strip() for item in _SEPARATOR.split(text.replace("\n", " "))]
    values = [_value(item) for item in items if item] + [_value(last)]
    return None if None in values else {value for value in values if value is not None}


def _read_bullets(lines: list[str]) -> set[int] | None:
    """Bulleted or numbered lines, one value each with what is said about it, or several values."""
    found: list[set[int] | None] = []
    ended = False
    for line in lines:
        bullet = _BULLET.match(line)
        if not bullet:
            ended = ended or (line[:1] not in ("", " "))
            continue
        item = line[bullet.end() :]
        if not ended:
            found.append(_read_item(item))
        elif _NAME.search(item):  # is the list going on after all?
            return None
    named = [values for values in found if values is not None]
    if len(named) < len(found) or (len(named) > 1 and set() in named):
        return None
    return set().union(*named)


def _read_item(item: str) -> set[int] | None:
    """What one bullet names: values, or a value and what is said about it."""
    item = item.lstrip(" \"'*_[")
    found = _read_items(_without_asides(item))
    if found is not None:
        return found
    name = _NAME.match(item)
    if not name or not re.match(r"[\"'*]{0,4} ?[:(=,-]", item[name.end() :]):
        return None
    reason = _WORD.findall(item[name.end() :])
    return None if _DENIALS & set(reason[:2]) else {VALUE_OF[letters(name.group())]}


def _value(item: str) -> int | None:
    words = [word for word in _WORD.findall(item) if word not in _SMALL_WORDS]
    if len(words) > 1 and words[0].isdecimal():
        words = words[1:]
    known = _BY_WORDS.get(frozenset(words))
    return VALUE_OF.get("".join(words)) if known is None else known


def _says_none(text: str) -> bool:
    words = _WORD.findall(text.partition("because")[0])
    if words == ["n", "a"]:
        return True
    if words[:1] not in (["none"], ["nothing"], ["no"]) or words == ["no"]:
        return False
    return _NOTHING.issuperset(words) and not _NAME.search(text)


def _without_asides(text: str) -> str:
    """Without what stands in parentheses, unless it belongs to the name or denies it."""

    def aside(match: re.Match[str]) -> str:
        words = _WORD.findall(match.group())
        kept = frozenset(words) in _BY_WORDS or _DENIALS & set(words[:2])
        return match.group() if kept else " "

    return _ASIDE.sub(aside, text)


def _without_lead_in(text: str) -> str:
    """Without words such as "the argument rests on" at the beginning."""
    for word in _WORD.finditer(text):
        if word.group() not in _LEAD_IN:
            return text[word.start() :]
    return text
