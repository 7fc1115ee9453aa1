"""Cut an answer into tokens: the one lexer of the readers of templates mbc and cot.

Kinds of tokens:

- ``name``: a value's name, in any hyphenation ("Power: dominance", "power_dominance")
- ``number``: numbers of values, alone, in a range or listed ("7", "7/20", "1-4", "1, 2 and 5")
- ``others``: "all others", "the rest"; ``all``: "all 20 values"
- ``verdict``: an answer about a value ("yes", "false", "n/a", "does not apply", "✓")
- ``hedge``: no certain answer ("maybe", "partially")
- ``word``, ``mark`` (one sign), ``line`` (a line's end)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from valueeval.tasks.templates.answer_text import NAME, VALUE_OF, letters
from valueeval.tasks.values import VALUES

_NUMBER = r"\d{1,2}(?!\d)"
_ITEM = rf"{_NUMBER}(?: ?(?:-|to|through|until) ?{_NUMBER})?"
_NUMBERS = rf"(?<![\d.]){_ITEM}(?:(?: ?[,&] ?|,? and ){_ITEM}){{0,40}}"
_RANGE = re.compile(r"(\d+) ?(?:-|to|through|until) ?(\d+)")

_STRESS = r"(?:(?:it|this value|this|that|clearly|strongly|directly|definitely|very|highly) ){0,2}"
_RELEVANT = (
    r"(?:applicable|present|relevant|mentioned|addressed|supported|involved|invoked|expressed|"
    r"reflected|at stake|central|evident|implied|an? (?:reason|factor|value|concern|motive))"
)
# "absent", "absent from the argument", "rejected outright" deny; "absent teachers harm it" is a
# reason: there the word goes with the next, which is no small one.
_REFUSED = r"(?:irrelevant|inapplicable|unrelated|absent|rejected|excluded|dismissed)"
_REFUSED_BY = (
    r"(?= ?(?:$|[^\w\s'-]|\n| -|(?:by|in|from|to|for|at|on|of|with|within|throughout|under|via"
    r"|through|out|outright|altogether|overall|here|there|because|since|as|and|or|but|when|if|while"
    r"|where|due|given|so|the|this|that|these|those|it|its|their|\w+ly)\b))"
)
_DENIED = (
    rf"{_STRESS}(?:(?:does|do|did|is|are|was)(?:n't| not)|not)"
    rf" (?:really |directly |clearly |explicitly )?(?:apply|appear|fit|play a role|{_RELEVANT})\b"
    rf"|is {_REFUSED}\b|(?:(?:explicitly|clearly|entirely|completely) )?{_REFUSED}{_REFUSED_BY}"
    r"|n[./] ?a\b\.?|none(?= ?(?:$|[|)\n]))"
)
# Words that say yes as a whole answer only: "present" is one, "present danger" is not.
_CLOSED = (
    r"(?= ?(?:$|[^\w\s'-]|\n| -|(?:because|since|as|here)\b))"
    r"(?![\"'?]{0,2} ?[:=|] ?[\"']{0,2}(?:yes|no|true|false|y|n)\b)"  # there it is a label
)
_AFFIRMED = (
    rf"{_STRESS}(?:is )?(?:clearly |strongly |directly |highly )?"
    rf"(?:applies|fits|applicable|present|relevant|(?<=that )apply){_CLOSED}"
)

_TOKEN = re.compile(
    rf"(?P<name>{NAME})"
    r"|(?P<mark_of_number>^[^\w\n]{0,8}(?:(?:value|question|item) )?no\. {0,2}(?=\d))"
    r"|(?P<all>\ball (?:of )?(?:the )?(?:20 |twenty )?values\b)"
    rf"|(?P<of20>(?<![\d.]){_NUMBER} ?(?:/|of|out of) ?20(?!\d))"
    rf"|(?P<number>{_NUMBERS})"
    r"|(?P<others>\b(?:(?:all|any|every|each)(?: of)?(?: the)? )?(?:the )?"
    r"(?:others?|rest|remaining|remainder)\b(?: (?:values?|ones|of the values))?"
    r"|\b(?:everything|anything|all) else\b)"
    rf"|(?P<denied>(?<![^\W_])(?:{_DENIED}))"
    rf"|(?P<affirmed>(?<![^\W_])(?:{_AFFIRMED}))"
    r"|(?P<other>\d+|no (?:one|doubt|matter|longer|less|more)\b)"
    r"|(?P<yes>(?<![^\W_])(?:yes|yeah|yep|yup|y|true)(?![^\W_]|'\w)|\[[xy✓✔]\]|[✓✔✅☑👍])"
    r"|(?P<no>(?<![^\W_])(?:no|nope|nah|n|false)(?![^\W_]|'\w)|\[ {0,3}\]|[✗✘❌✖✕☐☒👎])"
    r"|(?P<hedge>\b(?:maybe|perhaps|possibly|probably|likely|unlikely|partly|partially|somewhat"
    r"|arguably|potentially|unsure|unclear|uncertain|debatable|borderline|mixed|might|could|either"
    r"|to some (?:extent|degree)|in part|not sure|kind of|sort of)\b)"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)*)"
    r"|(?P<line>\n)"
    r"|(?P<mark>[^\s\w]|_)",
    re.MULTILINE,
)
_KIND = {"of20": "number", "other": "word", "mark_of_number": "mark"}
_VERDICT = {"yes": True, "affirmed": True, "no": False, "denied": False}


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: One of the kinds that the module's text lists.
        text: Its characters, in lower case.
        values: Indices into ``VALUES`` that a name or number stands for; beyond 20, none.
        verdict: What a verdict says.
    """

    kind: str
    text: str
    values: tuple[int, ...] = ()
    verdict: bool | None = None


def tokenise(text: str) -> Iterator[Token]:
    """Yield the tokens of a :func:`~valueeval.tasks.templates.answer_text.clean` text."""
    for match in _TOKEN.finditer(text):
        kind, found = str(match.lastgroup), match.group()
        if kind == "name":
            yield Token("name", found, (VALUE_OF[letters(found)],))
        elif kind == "all":
            yield Token("all", found, tuple(range(len(VALUES))))
        elif kind == "of20":
            yield Token("number", found, (int(re.split(r"\D", found)[0]) - 1,))
        elif kind == "number":
            yield Token("number", found, tuple(_listed(found)))
        elif kind in _VERDICT:
            yield Token("verdict", found, verdict=_VERDICT[kind])
        else:
            yield Token(_KIND.get(kind, kind), found)


def _listed(numbers: str) -> Iterator[int]:
    """Yield the indices that a text such as "1-4, 6 and 9" lists."""
    for piece in re.split(r",|&|and", numbers):
        limits = _RANGE.fullmatch(piece.strip())
        if limits:
            yield from range(int(limits[1]) - 1, int(limits[2]))
        elif piece.strip():
            yield int(piece) - 1


def is_verdict(text: str) -> bool:
    """Return whether a text is a verdict and nothing else."""
    return [token.kind for token in tokenise(text) if token.kind != "mark"] == ["verdict"]
