"""Names of values in a row, as lists of template cot name them, and what is said of each.

Read are names parted by commas, semicolons, "and" and the like (``Tradition; Face``), their second
halves alone or before the first (``objectivity``, ``personal security``, ``Benevolence (caring,
dependability)``), verdicts (``Face: yes; Tradition: no``, ``Face (not present)``), what is
excluded (``but not Face``, ``neither Face nor Tradition``, ``rather than Face``), what stands
under a heading (``Not relevant: Face; Tradition``), ``all values except …`` and ``none``. Nothing
else may stand in the row but small words and asides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from valueeval.tasks.templates.answer_text import NAME, word_set
from valueeval.tasks.templates.tokens import Token, tokenise
from valueeval.tasks.values import VALUE_NAMES

SMALL_WORDS = word_set(
    "the a an value values of also plus both here in this case argument is are behind list listed "
    "only just solely definitely clearly certainly strongly"
)
HEADINGS = word_set(
    "primary secondary tertiary main key other further additional relevant present applicable held "
    "included mainly primarily chiefly mostly partly lesser extent degree"
)
LEAD_IN = word_set(
    "the value values of argument is are rests relies based on upon appeals to behind this it that "
    "following these include includes there from be about primarily mainly reflects expresses "
    "above so would"
)
_NOTHING = word_set(
    "none no nothing of the value values these them above listed list 20 apply applies here from "
    "in this argument is are clearly explicitly directly behind fits fit present expressed stated "
    "mentioned them"
)
_EXCLUDING = word_set("not neither without excluding rather instead opposed no")
_EXCEPTING = word_set("except excepting besides")
_LINKING = word_set("for than of to as but from with them")
DENIALS = _EXCLUDING | word_set(
    "nor never isn't doesn't aren't don't cannot can't hardly less false"
)
"""Words that may deny what stands near them."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_NONE_EXCEPT = re.compile(r"\W*(?:none|no values?)\b[^,;\n]{0,40}?\bexcept(?: for)?\b")
_NONE_AT_ALL = re.compile(
    r"[^.,;:\n]{0,40}\b(?:does|is|do|are)(?:n't| not) [^.,;:\n]{0,40}\bany\b"
    r"(?: (?:of|the|these|listed|values?|list|from|here|20|above)){0,8}\W*|\W*not applicable\W*"
)
_NO_OTHERS = re.compile(
    r"[,;.]? ?(?:and )?(?:no other values?(?: appl(?:y|ies))?|no others?|nothing else|none else)\b"
)
_AND = re.compile(r",? ?\bas well as\b")
_BAD_THINGS = word_set(
    "harm danger risk crime debt debts illness fear violence war prejudice discrimination poverty "
    "shame ridicule pain suffering pollution corruption bias censorship"
)
_LOOK_AHEAD = 200  # how long, in tokens, an aside may be

Said = dict[int, bool]
"""From indices into ``VALUES`` to whether the value is held."""


class _Piece(NamedTuple):
    """One thing that matters in a row.

    Its kind: value, yes, no, not, or, and, all, hedge, end, open, close; ``yes:`` and ``no:`` are
    headings. ``held`` is what the heading over it says; ``None`` where there is none.
    """

    kind: str
    value: int = -1
    held: bool | None = None


_PIECES = {  # by the sign or word that says it
    **{",": "and", "&": "and", "and": "and", ";": "end", "|": "end", ")": "close"},
    **dict.fromkeys(_EXCLUDING | _EXCEPTING, "not"),
    **{"or": "or", "nor": "or", "but": "but", "all": "all", "everything": "all"},
}

_BEGINNING = ("", "end", "open")
_BEFORE_HEADING = (*_BEGINNING, "and", "but", "close")

_FULL_NAMES = {  # by their second halves, no two of which are alike
    name.lower().partition(": ")[2]: name.lower() for name in VALUE_NAMES if ": " in name
}
FAMILIES = {name.partition(": ")[0] for name in _FULL_NAMES.values()}
_LOOSE_NAME = re.compile(
    rf"{NAME}|(?<![\w-])(?P<half>{'|'.join(_FULL_NAMES)})"
    rf"(?: (?:{'|'.join(sorted(FAMILIES))}))?(?![\w-])"
)


def read_row(text: str) -> Said | None:
    """Return what a row of names says; empty if it says that no value is held.

    Args:
        text: A part of a :func:`~valueeval.tasks.templates.answer_text.clean` text.

    Returns:
        The values that are named; ``None`` where anything in the row is left over or in doubt.
    """
    if says_none(text):
        return {}
    if "..." in text:  # and what else?
        return None
    excepted = _NONE_EXCEPT.match(text)
    pieces = _pieces(text[excepted.end() :] if excepted else text)
    if not pieces:
        return None
    if pieces[0].kind == "all":
        return _all_but(pieces[1:])
    said: Said = {}
    denying = False
    for segment in _segments(_under_headings(pieces)):
        found = _read_segment(segment)
        if found is None or any(said.get(v, held) != held for v, held in found.items()):
            return None
        if denying and _is_bare(segment):
            return None  # "A, not B; C": is C denied?
        denying = denying or _ends_denying(segment)
        said.update(found)
    return said or None


def says_none(text: str) -> bool:
    """Return whether a text says that there is no value: "none", "no value of the list"."""
    if _NONE_AT_ALL.fullmatch(text):
        return True
    text = text.partition("because")[0].partition("(")[0] or text
    words = _WORD.findall(without_lead_in(text))
    if words[:2] == ["n", "a"]:
        words = ["none", *words[2:]]
    if words[:1] not in (["none"], ["nothing"], ["no"]) or words == ["no"]:
        return False
    return _NOTHING.issuperset(words)


def without_lead_in(text: str) -> str:
    """Return a text without words such as "the argument rests on" at its beginning."""
    for word in _WORD.finditer(text):
        if word.group() not in LEAD_IN:
            return text[word.start() :]
    return text


def _all_but(pieces: list[_Piece]) -> Said | None:
    """Return all values but those named: "all 20 values except Face"."""
    if {piece.kind for piece in pieces} - {"value", "not", "but", "and", "open", "close"}:
        return None
    named = {piece.value for piece in pieces}
    if named - {-1} and not {_Piece("not"), _Piece("but")} & set(pieces):
        return None
    return {value: value not in named for value in range(len(VALUE_NAMES))}


def _under_headings(pieces: list[_Piece]) -> Iterator[_Piece]:
    """Yield the pieces without their headings, each with what the heading over it says.

    A heading holds up to the next one, or to the end of the parenthesis that it stands in, beyond
    semicolons too. So does a verdict that opens the row (``❌ Face; Tradition``) or, where one has,
    a part of it; after values without a verdict it is a mere "not".
    """
    heading: bool | None = None
    outer: list[tuple[bool | None, bool]] = []
    listed = False  # under a heading with a colon that rejects
    bare = False  # a value that stands under no heading has been named
    before = ""
    for piece, after in zip(pieces, [*pieces[1:], _Piece("end")], strict=True):
        kind = piece.kind
        opens = kind in ("yes", "no") and before in _BEGINNING and after.kind == "value"
        if kind in ("yes:", "no:") or (opens and (kind == "yes" or not bare)):
            heading, listed = kind.startswith("yes"), kind == "no:"
        elif kind == "not" and before == "open":
            heading, listed = False, True
        elif opens:
            yield _Piece("not")
        elif kind == "but" and listed:
            yield _Piece("hedge")  # "Not relevant: A, but B"
        else:
            if kind == "open":
                outer.append((heading, listed))
            elif kind == "close" and outer:
                heading, listed = outer.pop()
            bare = bare or (kind == "value" and heading is None)
            yield piece._replace(held=heading)
            if kind == "but":
                heading = None
        before = kind


def _segments(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Yield the parts of a row between its semicolons."""
    segment: list[_Piece] = []
    for piece in pieces:
        if piece.kind == "end":
            yield segment
            segment = []
        else:
            segment.append(piece)
    yield segment


def _read_segment(pieces: list[_Piece]) -> Said | None:
    """Return what a part of a row says, up to its semicolon; ``None`` if it can be read twice."""
    said: Said = {}
    judged: set[int] = set()  # values with a verdict of their own
    excluded: set[int] = set()
    holds, denying, offers = True, False, False
    last = -1
    values = [index for index, piece in enumerate(pieces) if piece.kind == "value"]
    if not values:
        return {} if {piece.kind for piece in pieces} <= {"and", "open", "close"} else None
    for index, (kind, value, held) in enumerate(pieces):
        if kind == "value":
            said[value] = holds and held is not False
            if denying:
                excluded.add(value)
            last = value
        elif kind in ("yes", "no") and last < 0:
            holds = kind == "yes"
        elif kind == "yes" and held is False:
            return None  # "Not relevant: A (yes)"
        elif kind in ("yes", "no"):
            said[last] = kind == "yes"
            judged.add(last)
        elif kind == "not" and index > values[-1]:
            said[last] = False  # "A is not among them"
        elif kind == "not":
            holds, denying = False, True
        elif kind == "or" and (not holds or held is False):
            offers = True
        elif kind in ("close", "but"):
            holds, denying = True, False
        elif kind not in ("and", "open"):  # a choice ("A or B") or a hedge
            return None
    if len(excluded) > 1 and not offers:
        return None  # "not A, B": is B denied?
    shared = judged < set(said) and not all(said[value] for value in judged)
    if shared and _Piece("close") not in pieces and any(said[v] for v in set(said) - judged):
        return None  # "A, B: no": is A denied?
    return said


def _ends_denying(pieces: list[_Piece]) -> bool:
    """Return whether a part of a row ends in a denial that may go on behind its semicolon."""
    denying = ends = False
    for piece in pieces:
        if piece.kind == "not":
            denying = True
        elif piece.kind in ("or", "but", "close"):
            denying = ends = False
        elif piece.kind == "value":
            ends = denying
    return ends


def _is_bare(pieces: list[_Piece]) -> bool:
    """Return whether a part of a row is nothing but values, under no heading."""
    values = [piece for piece in pieces if piece.kind == "value"]
    kinds = {piece.kind for piece in pieces}
    return any(piece.held is None for piece in values) and kinds <= {"value", "and", "close"}


def _pieces(text: str) -> list[_Piece] | None:
    """Return what matters in a row; ``None`` if it has words that name no value, or breaks off."""

    def full_name(match: re.Match[str]) -> str:
        return _FULL_NAMES[match["half"]] if match["half"] else match.group()

    text = _AND.sub(" and ", text.replace("\n", " "))
    tokens = list(tokenise(_LOOSE_NAME.sub(full_name, _NO_OTHERS.sub(" ", text))))
    ending = [token.text for token in tokens[-2:]]
    if ending[-1:] == ["not"] and ending[0] not in ("is", "are"):
        return None
    if ending and ending[-1] in (*(",", ";", ":", "&", "and", "or", "nor"), *("a", "an", "the")):
        return None
    pieces: list[_Piece] = []
    skipped = 0  # the end of an aside
    for index, token in enumerate(tokens):
        if index < skipped:
            continue
        if token.text == "(":
            skipped = _end_of_prose(tokens, index, pieces[-1].value if pieces else -1)
            pieces += [_Piece("open")] if skipped == index + 1 else []
        elif token.text == ":" and _is_heading(pieces):
            pieces[-1] = _Piece("yes:" if pieces[-1].kind == "yes" else "no:")
        elif token.kind == "name":
            pieces.append(_Piece("value", token.values[0]))
        elif token.kind == "verdict":
            pieces.append(_Piece("yes" if token.verdict else "no"))
        elif token.kind == "all":
            pieces.append(_Piece("all"))
        elif token.text in _PIECES:
            pieces.append(_Piece(_PIECES[token.text]))
        elif token.kind == "hedge" or token.text == "?":
            pieces.append(_Piece("hedge"))
        elif token.kind == "number" and tokens[index - 1].text in (":", "=") and index:
            if token.text not in ("0", "1"):
                return None
            pieces.append(_Piece("yes" if token.text == "1" else "no"))
        elif token.kind not in ("mark", "number") and not _is_small(token):
            return None
    return pieces


def _is_heading(pieces: list[_Piece]) -> bool:
    """Return whether a colon makes a heading of what stands before it: "Not relevant: …"."""
    before = pieces[-2].kind if len(pieces) > 1 else ""
    return bool(pieces) and pieces[-1].kind in ("yes", "no", "not") and before in _BEFORE_HEADING


def _is_small(token: Token) -> bool:
    return token.text in SMALL_WORDS | HEADINGS | _LINKING


def _end_of_prose(tokens: list[Token], index: int, value: int) -> int:
    """Return where an aside ends that says nothing about which values are meant.

    "(customs, faith)" is passed over, and so is what a value holds to be good, in its own words:
    "(no harm)", "(tolerance towards others)"; "(caring, dependability)", "(not present)" are not.
    """
    aside = tokens[index + 1 : index + _LOOK_AHEAD]
    texts = [token.text for token in aside]
    end = texts.index(")") if ")" in texts else len(texts)
    own = {token.values for token in aside[:end] if token.kind == "name"} == {(value,)}
    for token, following in zip(aside[:end], [*texts[1:], ""], strict=False):
        if token.kind == "mark" or _is_small(token) or (own and token.kind == "name"):
            continue
        if token.text == "no" and following in _BAD_THINGS:
            continue
        matters = token.kind in ("name", "verdict", "hedge") or token.text in _PIECES
        return index + 1 if matters else index + 1 + end
    return index + 1 + end
