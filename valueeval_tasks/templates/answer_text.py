"""Clean generated answers: one plain form of a text, its parts, and the names of values in it.

Every pattern here and in the readers is linear in the length of the text: repetitions are bounded
or cannot overlap with what follows them, so no answer takes long to read, however odd it is.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata

from valueeval.tasks.templates.thinking import without_thinking
from valueeval.tasks.values import VALUE_NAMES, VALUES

_STRUCK = re.compile(
    r"~~[^~\n]{1,200}~~|(?<!\A)<(del|strike|s)\b[^<>\n]{0,40}>[^<>\n]{0,200}</\1>", re.IGNORECASE
)
STRUCK = " () "
"""The text with which :func:`clean` replaces struck-out words: an empty aside."""
_ITEM_TAG = re.compile(r"<li\b[^<>\n]{0,200}>", re.IGNORECASE)
_LINE_TAG = re.compile(r"</?(?:br|p|div|ul|ol|tr|h[1-6])\b[^<>\n]{0,200}>", re.IGNORECASE)
_CELL_TAG = re.compile(r"</?t[dh]\b[^<>\n]{0,200}>", re.IGNORECASE)
_OTHER_TAG = re.compile(r"</?[a-z][a-z0-9]{0,12}(?:\s[^<>\n]{0,200})?/?>", re.IGNORECASE)
_NEW_LINE = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        **dict.fromkeys("\u2014\u2015", " - "),
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        "\u20e3": "",  # the frame of keycap digits
        "\u00a0": " ",
        "\ufe0f": "",  # «show as emoji»
        "\t": " ",
    }
)
_BOLD = re.compile(r"\*\*+|__+|`+")
_INVISIBLE = {"Cf", "Cc", "Cs"}

_DESCRIPTIONS = re.compile(
    "|".join(sorted((re.escape(v.short.lower()) for v in VALUES), key=len, reverse=True))
)

# How the arguments of our prompts begin (a test compares with the YAML files), and what commonly
# opens another turn.
_NEXT_EXAMPLE = re.compile(
    r"^[ #>*-]{0,8}(?:(?:premise|claim|position|this is what i think|question|user|human"
    r"|(?:argument|example)(?: \d{1,3})?):|somebody argues |i argue (?:for|against) )",
    re.MULTILINE,
)

_GAP = r"(?:[^\w\n,;|]|_){0,4}"


def _name_pattern(name: str) -> str:
    return _GAP.join(re.findall(r"\w+", name.lower()))


NAME = (
    r"(?<![^\W_])(?<![^\W\d_]-)(?:" + "|".join(map(_name_pattern, VALUE_NAMES)) + r")(?!-?[^\W_])"
)
"""Pattern of a value's name in :func:`clean` text, however it is hyphenated or punctuated.

A name within a longer word is none: "face-saving", "traditional".
"""


def without_descriptions(text: str) -> str:
    """Return a text without the values' descriptions, which prompts show beside their names."""
    return _DESCRIPTIONS.sub(" ", text)


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


def letters(text: str) -> str:
    """Return the letters of a text without anything between them: ``"powerdominance"``."""
    return "".join(re.findall(r"[^\W\d_]+", text.lower()))


VALUE_OF = {letters(name): index for index, name in enumerate(VALUE_NAMES)}
"""From :func:`letters` of a value's name to its index in ``VALUES``."""


def clean(text: str) -> str | None:
    """Return a generated text in one plain form, or ``None`` if it is unfinished thinking.

    Lower case; one kind of digit, hyphen, quote and line end (NFKC); without thinking, special
    tokens and what follows them, invisible characters, struck-out words, bold and code marks, HTML
    tags (rows and list items become lines, cells are parted by ``|``).
    """
    text = unicodedata.normalize("NFKC", _NEW_LINE.sub("\n", text)).strip()
    answer = without_thinking(_STRUCK.sub(STRUCK, text))
    if answer is None:
        return None
    text = _NEW_LINE.sub("\n", html.unescape(answer))
    text = _LINE_TAG.sub("\n", _ITEM_TAG.sub("\n- ", text))
    text = _OTHER_TAG.sub(" ", _CELL_TAG.sub("|", text))
    text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS)
    text = "".join(c for c in text if c == "\n" or unicodedata.category(c) not in _INVISIBLE)
    return _BOLD.sub("", text).lower()


def parts(text: str) -> list[str]:
    """Return a :func:`clean` text cut where an argument's prompt begins.

    A prompt repeated and then answered ends in the part that answers; a model that runs on into
    another example answers in the first part. So the first part that answers is the answer.
    """
    starts = [0, *(match.start() for match in _NEXT_EXAMPLE.finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(starts)]


CORRECTION = re.compile(
    r"(?:^|[.;:!?\n(]|\.\.\.| - )[ *_>#-]{0,6}"
    r"(?:(?:oh|hmm|but|no),? )?"
    r"(?:wait\b|(?:actually|sorry|oops|scratch that|correction)\b ?[,.:;!-])"
    r"|\bon (?:second thoughts?|reflection|closer (?:look|inspection))\b"
    r"|\b(?:should|must|ought to) (?:actually |really |rather |instead |probably )?"
    r"(?:be|have been|read)(?: marked)?(?: as)?(?: an?)? \"?(?:yes|no|true|false)\b"
    r"|\b(?:i (?:take (?:that|it) back|meant|made (?:a mistake|an error)|misread)"
    r"|my mistake|i(?:'d| would|'ll| will| should| need to| must) (?:change|replace|correct|revise)"
    r"|let me (?:correct|revise|fix|change|reconsider))\b",
)
"""Pattern of second thoughts in :func:`clean` text: "Wait, …", "3 should be yes"."""


def yes_no_columns(text: str) -> str:
    """Return a text in which the rows of tables with a column "yes" and one "no" say yes or no.

    ``| Face | ✓ | |`` under ``| Value | Yes | No |`` becomes ``| face | yes``; a row with a mark
    in both columns or in none loses both.
    """
    if "|" not in text:
        return text
    columns: tuple[int, int] | None = None
    lines = []
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "yes" in cells and "no" in cells and cells.count("yes") == cells.count("no") == 1:
            columns = cells.index("yes"), cells.index("no")
        elif "|" not in line:
            columns = None
        elif columns and not _RULE.fullmatch(line):
            marked = [bool(cells[i].strip("- ")) for i in columns if i < len(cells)]
            rest = [cell for i, cell in enumerate(cells) if i not in columns]
            verdict = {(True, False): ["yes"], (False, True): ["no"], (True,): ["yes"]}
            line = " | ".join(["", *rest, *verdict.get(tuple(marked), [])])
        lines.append(line)
    return "\n".join(lines)


_RULE = re.compile(r"[ |:-]*")
