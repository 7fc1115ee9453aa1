"""Template oa: which words describe, in respect of one value, a person who says this?

A value is predicted where one of its keywords (``VALUES[value].keywords``) is in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from valueeval.tasks.templates.answer_text import clean, letters, parts, word_set
from valueeval.tasks.values import VALUES

_INDIFFERENT = "indifferent"
_SHOWN_KEYWORDS = 3  # in a few-shot example: what fits into the 16 tokens of an answer

# What our own prompts say before an answer, and what else of them an answer may repeat.
_CUE = re.compile(
    r"these words describe a person who says this:|\banswer:|\bthe kind of person who is\b:?"
)
_INSTRUCTION = re.compile(
    r"\b(?:what people say shows|if it does not show|describe the person|read what somebody"
    r"|answer (?:the question|with)|i tell you|you tell me|you say that|if what is said"
    r"|when you cannot see)\b[^.\n]*"
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not sure)|i can(?:'t|not| not)|as an ai|language model"
    r"|i (?:don't|do not) know|(?:cannot|can't) (?:be )?determine|not enough information)"
    r"|^\W*sorry\b"
)
# Words between which a statement ends; a comma ends one too, unless it parts a list with "or".
_CLAUSE = re.compile(r"[\n.;:!?()\[\]{}|\"]| - |\b(?:but|yet|however|though|although)\b")
_DENIAL = (
    r"\b(?:not(?! (?:only|just|merely|simply) \w)|non|no|never|neither|nor|hardly|barely|without"
    r"|lacks?|lacking|nothing|less|least|cannot|rather than|far from|instead of|opposite of)\b"
    r"|n't\b"
)
# Keywords that are also small words, as which they do not count: "just a person", "the kind of".
_AS_ADJECTIVE = {
    "just": r"just(?= *(?:$|[,&/]|(?:and|or|person|people|man|woman|individual|society|world)\b))",
    "kind": r"(?<!the )(?<!what )kind(?!s? of\b)",
}
_ALTERNATIVES = re.compile(r"\b(?:or|nor)\b")
_REGARD = re.compile(
    r"\b(?:in respect of|with respect to|in terms of|with regard to|regarding|concerning|as for"
    r"|as to|when it comes to)\b"
)
_TO_CLAUSE_END = re.compile(r"[^,;:.!?\n]*")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_EXPECTED = re.compile(r"[a-z'-]+|naïve|blasé|passé")
_FOREIGN = word_set(
    "und oder nicht kein keine eine einer ein ist der die das et ou pas une le la les est y el "
    "los las una es não uma è il gli een niet en och inte"
)
# Words that say nothing about a person: those of our questions, and small words around them.
_EMPTY = word_set(
    "a an the of in to on at by for from with and or as if than then so about into up "
    "i me my you your he him his she her they them their it its we our who whom whose which what "
    "when where why how this that these those here there "
    "is am are was were be been being do does did has have had can could will would may might "
    "should must says say said saying speaks "
    "yes no not very quite rather really just also only more most "
    "respect regard terms comes kind kinds sort type person people someone somebody man woman "
    "individual speaker human one two three word words adjective adjectives describe describes "
    "described describing description question answer answers value values following "
    "argue argues claim claims argument think thinks because against premise conclusion"
)


def parse(text: str, value: int) -> bool | None:
    """Reads an answer of template oa.

    A keyword counts as a word of its own in any case, with hyphens, spaces or nothing inside
    ("free-thinking", "free thinking"), also with a plural s; not within a longer word
    ("uncreative", "fun-loving" for *loving*), not as an adverb ("just a …"), and not where it is
    denied ("not religious", "neither kind nor caring").

    Where nothing else is said, the answer cannot be read: it is empty, a refusal, only small words
    or the question repeated, thinking without end, not in English (a foreign article or "and", or
    a script other than Latin), or says and denies the same keyword.

    Args:
        text: What the model generated.
        value: Index into ``VALUES`` of the value that was asked about.

    Returns:
        Whether a keyword of the value is in the answer, or ``None`` if it cannot be read.
    """
    plain = clean(text)
    if plain is None or _REFUSAL.search(plain):
        return None
    for paragraph in _paragraphs(plain):
        said = _without_question(paragraph, value)
        affirmed, denied = _keywords(said, value)
        if affirmed or denied:
            return None if affirmed and affirmed <= denied else bool(affirmed)
        words = _WORD.findall(said)
        if not _EMPTY.issuperset(words):
            return False if _is_english(words) else None
    return None


def gold(labels: Sequence[int], value: int) -> str:
    """A right answer: some of the value's keywords if its label is 1, else "indifferent"."""
    return ", ".join(VALUES[value].keywords[:_SHOWN_KEYWORDS]) if labels[value] else _INDIFFERENT


def _paragraphs(text: str) -> Iterator[str]:
    """What may be the answer: of a prompt that is repeated, only what follows its question."""
    for index, part in enumerate(parts(text)):
        *_, question = [None, *_CUE.finditer(part)]
        if question:
            part = part[question.end() :]
        elif index:
            continue
        yield from part.split("\n\n")


def _without_question(text: str, value: int) -> str:
    """Without the value's description, "in respect of …", and instructions, repeated or begun."""
    description = VALUES[value].short.lower()
    text = text.replace(description, " ")
    said, *regards = _REGARD.split(text)
    for regard in regards:
        if not description.startswith(regard.strip()):
            said += _TO_CLAUSE_END.sub(" ", regard, count=1)
    return _INSTRUCTION.sub(" ", said)


def _keywords(text: str, value: int) -> tuple[set[str], set[str]]:
    """The value's keywords that are affirmed and those that are denied, by their letters."""
    own = {letters(keyword) for keyword in VALUES[value].keywords}
    affirmed: set[str] = set()
    denied: set[str] = set()
    for clause in _CLAUSE.split(text):
        last_or = max((match.start() for match in _ALTERNATIVES.finditer(clause)), default=-1)
        denial = -1  # where the denial began that still holds
        for match in _keyword_pattern().finditer(clause):
            if match.lastgroup == "denial":
                denial = match.start()
            elif match.lastgroup == "comma":
                denial = denial if last_or > match.start() else -1
            else:
                keyword = letters(match.group())
                keyword = keyword if keyword in own else keyword.removesuffix("s")
                (affirmed if denial < 0 else denied).update(own & {keyword})
    return affirmed, denied


@cache
def _keyword_pattern() -> re.Pattern[str]:
    """Denials, commas and the keywords of all values, long ones first.

    All values', so that a word of a longer keyword is not taken for one: "fun loving" is a keyword
    of another value than *loving*.
    """
    keywords = sorted({keyword for value in VALUES for keyword in value.keywords}, key=len)
    patterns = [
        _AS_ADJECTIVE.get(keyword, keyword.lower().replace("-", "[ -]?"))
        for keyword in reversed(keywords)
    ]
    return re.compile(
        rf"(?P<denial>{_DENIAL})|(?P<comma>,)"
        rf"|(?P<keyword>(?<![\w'-])(?:{'|'.join(patterns)})s?(?![\w-]))"
    )


def _is_english(words: list[str]) -> bool:
    return _FOREIGN.isdisjoint(words) and all(_EXPECTED.fullmatch(word) for word in words)
