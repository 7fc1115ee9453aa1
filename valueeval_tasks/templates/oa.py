"""Template oa: which words describe, in respect of one value, a person who says this?

A value is predicted where one of its words is in the answer and is not denied: a keyword of
``values.yaml``, another form of it ("fairness"), or a compound ("justice-oriented"). Forms:

- words: ``creative, curious``, ``1. Bold 2. Daring``, ``["bold"]``, ``Someone who values fairness``
- a verdict on a word: ``Ambitious? Yes.``, ``Ambitious: no``, ``| ambitious | no |``
- denied before: ``not bold``, ``neither kind nor caring``, ``lacks ambition``, ``against wealth``,
  ``indifferent to money``, ``cautious rather than bold``, ``anything but cautious``
- denied behind: ``money is not important to them``, ``thinks money is unimportant``
- denied within: ``unfair``, ``non-religious``; denied again it holds: ``not unfair``

Other English words, and "indifferent", are a no. Unparsed are an answer that says nothing ("N/A",
"unclear", the question repeated, a refusal), doubts its only word ("maybe bold", "bold?"), says
and denies the same, or is not in English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import cache

from valueeval.tasks.templates import denial, english
from valueeval.tasks.templates.answer_text import clean, letters, parts
from valueeval.tasks.values import VALUES

_INDIFFERENT = "indifferent"
_SHOWN_KEYWORDS = 3  # in a few-shot example: what fits into the 16 tokens of an answer

# What our own prompts say before an answer, and what else of them an answer may repeat.
_CUE = re.compile(
    r"these words describe a person who says this:|\banswer:|\bthe kind of person who is\b:?"
)
_INSTRUCTION = re.compile(
    r"\b(?:what people say shows|if it does not show, the|describe the person|read what somebody"
    r"|answer (?:the question|with)|i tell you|you tell me|you say that|if what is said"
    r"|when you cannot see|how would you describe"
    r"|the form of the answer|write (?:one|up) to three|say in a word or two)\b[^.\n]*"
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able|not sure|an ai)|i can(?:'t|not| not)|as an? ai\b"
    r"|i(?:'d| would) (?:rather|prefer) not|language model|i (?:don't|do not) (?:know|form|have)"
    r"|(?:cannot|can't) (?:be )?determine|not enough information)|^\W*sorry\b"
)
_NOT_INDIFFERENT = re.compile(r"\bnot (?:\w+ ){0,2}indifferent\b")
# An answer without a word of the value that says that it says nothing.
_NO_ANSWER = re.compile(
    r"\bn/?a\b|^\W*(?:none|nothing|neither|no one|no words?)\b"
    r"|\b(?:unclear|ambiguous|unknown|undetermined|indeterminate|inconclusive|unspecified|unstated"
    r"|insufficient|undecided|undefined|error|null|it depends"
    r"|not (?:\w+ ){0,2}(?:specified|stated|mentioned|clear|shown|given|applicable"
    r"|enough|possible|known|evident|indicated|determinable|discernible|sure)"
    r"|(?:cannot|can't|could not|couldn't|impossible to|hard to|difficult to|unable to|not able to)"
    r" (?:be )?(?:say|said|tell|determine|determined|judge|judged|know|known|assess|infer|inferred)"
    r"|(?:does|do)(?:n't| not) (?:really )?(?:say|show|tell|reveal|indicate|specify|mention)"
    r"|no (?:clear )?(?:information|indication|evidence|way to|opinion|answer|description))\b"
    # The argument told again, or a sentence that stops before the description.
    r"|\bargu(?:es?|ing|ed) (?:for|against|that)\b|\b(?:is|be)(?: an?| the)?\W*\Z"
)

_CLAUSE = re.compile(
    r"((?:(?:[\n.;:!?()\[\]{}|/\"=]| - |\b(?:(?<!anything )(?<!nothing )but|yet|however|though"
    r"|although)\b) *)+)"
)
_VERDICT_AFTER = ("?", ":", "(", "|", "=", " - ", '"')  # "bold? no", "bold: no", "bold (no)"

# With these, "environmentally" says that a person cares. With others, or cut off, it is in doubt.
_CARING = (
    r"(?:\w+ly )?(?:conscious|aware|friendly|minded|responsible|concerned|sustainable|sensitive"
    r"|focus+ed|active|protective|conscientious|engaged|oriented|committed|inclined|caring|careful"
    r"|mindful|respectful|considerate|supportive|passionate|dedicated|devoted|informed|educated)\b"
)

# Keywords that are also other words, as which they do not count.
_SENSES = {
    "just": r"just(?= *(?:$|[^\w ]|(?:and|n?or|person|people|man|woman|society|world)\b))",
    "proper": r"proper(?= *(?:$|[^\w ]|(?:and|n?or|person|people|citizen|conduct|behaviou?r)\b))",
    "kind": r"(?<!the )(?<!what )(?<!some )kind(?!s? of\b)",
    "safe": r"safe(?! (?:to (?:say|assume|bet)|bet|assumption|guess)\b)",
    "fair": r"(?<!to be )fair(?! (?:to (?:say|assume|call)|enough|amount|bit|number|share)\b)",
    "reasonable": r"reasonable(?! to (?:say|assume|think)\b)",
    "honest": r"(?<!to be )honest",
    "content": r"(?<!the )(?<!this )(?<!its )content(?! of\b)",
    "driven": r"driven(?! by\b)",
    "rich": r"(?<!the )rich(?! in\b)",
    "free": r"free(?! of (?:charge|cost)\b)",
    "civil": r"civil(?! (?:war|rights?|engineer|servant|law)\b)",
    "understanding": r"(?<!my )understanding(?! (?:of|that)\b)",
    "nature": r"(?<!the )(?<!by )nature(?! of\b)|(?<=care for )nature",
    "order": r"(?<!in )order(?! to\b)",
    "wealthy": r"(?<!the )wealthy",
    "powerful": r"(?<!the )powerful",
    "green": r"green(?! with envy)",
    "status": r"status(?! quo\b)",
    "control": r"(?<!out of )(?<!beyond )(?<!birth )(?<!gun )(?<!loss of )(?<!lost )control",
    "environmentally": rf"environmentally(?= *(?:$|[^\w -])|[- ](?:and )?{_CARING})",
}
_COMPOUND = (
    r"(?:[- ]?(?:oriented|driven|focus+ed|cent(?:er|re)d|based|bound|first)|-(?:minded|conscious"
    r"|loving|seeking|hearted|respecting|ish|leaning|hungry|friendly|aware|valuing)"
    r"|ness|hearted)?s?"
)
_REGARD = re.compile(
    r"\b(?:in respect of|with respect to|in terms of|with regard to|regarding|concerning|as for"
    r"|as to|when it comes to)\b"
)
_TO_CLAUSE_END = re.compile(r"[^,;:.!?\n]*")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


class _Said(Enum):
    """The verdict of an answer on a word: it fits, it does not, or neither for certain."""

    HOLDS = 1
    DENIED = 2
    DOUBTED = 3


_OPPOSITE = {_Said.HOLDS: _Said.DENIED, _Said.DENIED: _Said.HOLDS, _Said.DOUBTED: _Said.DOUBTED}


def parse(text: str, value: int) -> bool | None:
    """Read an answer of template oa.

    Args:
        text: What the model generated.
        value: Index into ``VALUES`` of the value that was asked about.

    Returns:
        Whether the answer describes a person who holds the value; ``None`` if it cannot be read.
    """
    plain = clean(text)
    if plain is None or _REFUSAL.search(plain):
        return None
    for paragraph in _paragraphs(plain):
        said = _without_question(paragraph, value)
        words = _WORD.findall(said)
        if english.is_foreign(words):
            return None
        judged = _judged(said, value)
        if judged:
            return _conclusion(judged)
        if _INDIFFERENT in words and not _NOT_INDIFFERENT.search(said):
            return False
        if _NO_ANSWER.search(said) or _INDIFFERENT in words:
            return None
        if not english.says_nothing(words):
            return False if english.is_english(words) else None
    return None


def gold(labels: Sequence[int], value: int) -> str:
    """Return a right answer: some keywords of the value if its label is 1, else "indifferent"."""
    return ", ".join(VALUES[value].keywords[:_SHOWN_KEYWORDS]) if labels[value] else _INDIFFERENT


def _conclusion(judged: list[tuple[str, _Said]]) -> bool | None:
    """Return whether any word holds; ``None`` if that is denied of the same word, or in doubt."""
    held = {word for word, said in judged if said is _Said.HOLDS}
    denied = {word for word, said in judged if said is _Said.DENIED}
    if held:
        return None if held <= denied else True
    return False if denied else None


def _paragraphs(text: str) -> Iterator[str]:
    """Yield what may be the answer: of a repeated prompt, only what follows its question."""
    for index, part in enumerate(parts(text)):
        *_, question = [None, *_CUE.finditer(part)]
        if question:
            part = part[question.end() :]
        elif index:
            continue
        yield from part.split("\n\n")


def _without_question(text: str, value: int) -> str:
    """Return a text without the description of the value, "in respect of …" and instructions."""
    description = VALUES[value].short.lower()
    text = text.replace(description, " ")
    said, *regards = _REGARD.split(text)
    for regard in regards:
        if not description.startswith(regard.strip()):
            said += _TO_CLAUSE_END.sub(" ", regard, count=1)
    return _INSTRUCTION.sub(" ", said)


# ------------------------------------------------------------------------- what is said of words


def _judged(text: str, value: int) -> list[tuple[str, _Said]]:
    """Return each word of the value in a text, by its letters, with what the text says of it."""
    judged: list[tuple[str, _Said]] = []
    asked: list[tuple[str, _Said]] = []  # words of the clause before, which a verdict may follow
    mark = ""
    pieces = [*_CLAUSE.split(text), ""]
    for clause, next_mark in zip(pieces[::2], pieces[1::2], strict=True):
        verdict = _lone_verdict(clause) if asked else None
        if verdict:
            answers = any(sign in mark for sign in _VERDICT_AFTER)
            judged += [(word, _under(verdict, said, answers)) for word, said in asked]
            asked = []
        else:
            judged += [(word, _Said.DOUBTED if "?" in mark else said) for word, said in asked]
            asked = _in_clause(clause, value)
        mark = next_mark
    return judged + [(word, _Said.DOUBTED if "?" in mark else said) for word, said in asked]


def _under(verdict: _Said, said: _Said, answers: bool) -> _Said:
    """Return what a verdict makes of a word before it: "bold? no", but hardly "bold. no"."""
    if verdict is _Said.HOLDS:
        return said
    return _Said.DENIED if answers and said is _Said.HOLDS else _Said.DOUBTED


def _lone_verdict(clause: str) -> _Said | None:
    """Return what a clause says that is nothing but a verdict on the words before it."""
    if clause.strip() == "0":
        return _Said.DENIED
    if clause.strip() == _INDIFFERENT:
        return None
    if re.search(denial.BEHIND, clause) and len(_WORD.findall(clause)) <= 4:
        return _Said.DENIED
    words = set(_WORD.findall(clause))
    if not words <= denial.BESIDE_VERDICT:
        return None
    if re.search(f"{denial.BEFORE}|{denial.NO}", clause):
        return _Said.DENIED
    return _Said.HOLDS if re.search(denial.YES, clause) else None


def _in_clause(clause: str, value: int) -> list[tuple[str, _Said]]:
    """Return the words of the value in one clause with what the clause says of them.

    A denial holds up to the next comma, or beyond it in a list with "or" or "nor". A second one
    that is not joined by "and", "or" or "nor" leaves doubt: "not opposed to wealth".
    """
    holds, opposites = _own_words(value)
    last_or = max(clause.rfind(" or "), clause.rfind(" nor "))
    judged: list[tuple[str, _Said]] = []
    scope = _Said.HOLDS
    lists = False  # the denial holds beyond commas
    begun = False  # a word has been said since the denial
    open_since = -1  # where a denial began that no word has followed
    for match in _lexicon().finditer(clause):
        kind, found = str(match.lastgroup), match.group()
        if kind == "behind":  # "… is unimportant", "unimportant is …"
            judged = [(word, _Said.DENIED) for word, _ in judged]
            scope = _Said.DENIED
        elif kind in ("yes", "no") and judged:
            word, said = judged[-1]
            judged[-1] = (word, said if kind == "yes" else _OPPOSITE[said])
        elif kind == "hedge":
            scope = _Said.DOUBTED
        elif kind == "denial" and found == "than" and " less " in f" {clause[: match.start()]}":
            scope = _Said.HOLDS  # "less bold than kind"
        elif kind == "denial":
            lists = found == "none of"
            joined = begun or found == "nor" or clause[: match.start()].rstrip().endswith(" and")
            scope = _Said.DENIED if scope is _Said.HOLDS or joined else _Said.DOUBTED
            begun, open_since = False, match.end()
        elif kind == "comma" and (lists or (last_or > match.start() and scope is _Said.DENIED)):
            continue
        elif kind == "comma":
            scope, open_since = _Said.HOLDS, -1
        elif kind == "adverb":
            judged += [(found, _Said.DOUBTED)] if found in holds else []
        elif kind == "word":
            begun, open_since = True, -1
            said, word = _sense(match, holds, opposites)
            if word:
                judged.append((word, _combined(scope, said)))
    trailing = open_since >= 0 and not _WORD.search(clause[open_since:])
    return [(word, _Said.DOUBTED) for word, _ in judged] if trailing and judged else judged


def _combined(scope: _Said, said: _Said) -> _Said:
    """Return what a denial, or none, makes of a word: "not" and "unfair" together hold."""
    if scope is _Said.DOUBTED:
        return scope
    return said if scope is _Said.HOLDS else _OPPOSITE[said]


def _sense(
    match: re.Match[str], holds: frozenset[str], opposites: frozenset[str]
) -> tuple[_Said, str]:
    """Return what a matched word says of the value by itself, and its letters; "" if nothing."""
    word = letters(match["root"])
    if word not in holds | opposites:
        return _Said.HOLDS, ""
    if match["prefix"]:
        return (_Said.DENIED if word in holds else _Said.DOUBTED), word
    return (_Said.HOLDS if word in holds else _Said.DENIED), word


@cache
def _own_words(value: int) -> tuple[frozenset[str], frozenset[str]]:
    """Return the words that say that a person holds a value, and those that say the opposite."""
    known = VALUES[value]
    return (
        frozenset(map(letters, known.keywords + known.related)),
        frozenset(map(letters, known.opposites)),
    )


@cache
def _lexicon() -> re.Pattern[str]:
    """Return the pattern of denials, verdicts, hedges, commas and the words of all values.

    All values', long ones first, so that a part of a longer word is not taken for one: "fun
    loving" is a keyword of another value than *loving*.
    """
    words = sorted({word for value in VALUES for word in value.words}, key=lambda w: (-len(w), w))
    patterns = "|".join(_SENSES.get(word, word.replace("-", "[ -]?")) for word in words)
    return re.compile(
        rf"(?P<word>(?<![\w'-])(?:(?:pro|ultra|super|hyper)-)?"
        rf"(?P<prefix>(?:non|anti|un)-?|(?:non|anti) )??(?P<root>{patterns})"
        rf"{_COMPOUND}(?![\w-]))|(?P<adverb>\benvironmentally\b)"
        rf"|(?P<behind>{denial.BEHIND})|(?P<denial>{denial.BEFORE})|(?P<hedge>{denial.HEDGE})"
        rf"|(?P<yes>{denial.YES})|(?P<no>{denial.NO})|(?P<comma>,)"
    )
