"""Template cot: one run that reasons and ends in a list of values.

Prompts ask for a last line "Final answer: " with names of values, separated by semicolons, or
none. Only the list after the last such mark is read (also "Final values", "Final answer →", …;
where there is none, "Answer:", "Values:" or "Therefore, the values … are" at the beginning of a
line; where there is none either, the only LaTeX box, or an answer that is nothing but a list).
Its forms:

- names in a row: ``Tradition; Face``, ``Tradition, Face and Hedonism``, ``objectivity``,
  ``Benevolence (caring, dependability)``, ``Primary: Face; Secondary: Tradition``
- bullets, each with what is said about it: ``- Face: fear of ridicule``, ``- Face (not present)``
- verdicts: ``- Face: yes``, ``❌ Face``, ``| Face | no |``, ``{"Face": true, "Tradition": false}``
- JSON: ``["Face"]``, ``{"reasoning": "…", "final_answer": "Face"}``
- none and all: ``none``, ``no value of the list``, ``all values except Face``
- what is denied is not held: ``but not Face``, ``rather than Face``, ``neither … nor …``,
  ``Face: rejected by the argument``, ``Not relevant: Face; Tradition``, ``{"not_held": ["Face"]}``

Unparsed are a list that breaks off ("Security: per"), offers a choice ("Tradition or Face"), hedges
("possibly") or denies in a way that can be read twice ("Face, not Tradition, Humility"), one that
is taken back ("Wait, …"), and one with words that name no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from valueeval.tasks.templates import json_answers
from valueeval.tasks.templates.answer_text import (
    CORRECTION,
    NAME,
    STRUCK,
    VALUE_OF,
    clean,
    letters,
    parts,
    without_descriptions,
    word_set,
    yes_no_columns,
)
from valueeval.tasks.templates.rows import (
    DENIALS,
    FAMILIES,
    HEADINGS,
    SMALL_WORDS,
    Said,
    read_row,
    without_lead_in,
)
from valueeval.tasks.templates.tokens import is_verdict, tokenise
from valueeval.tasks.values import VALUES

# "Final answer" with a colon, a verb or nothing but a line end after it. Our own prompts quote the
# words, or say what should follow: that is no answer.
_MARKER = re.compile(
    r"\bfinal[ _-]{1,2}(?:answers?|lists?|values?)\b(?!:\")(?: of values\b| \(values\))?"
    r"[\"'* )]{0,4}(?:[:=→➡]>?|\b(?:is|are|would be)\b:?|-+>? |(?=\n))(?! the names of)"
)
# "The final answer is based on …", "is short since …" speak about a list.
_ABOUT_A_LIST = re.compile(
    r" ?(?:(?:mostly|mainly|primarily|therefore|thus|only|solely|directly|clearly) )?"
    r"(?:based (?!on the above)|short|brief|since|because|supported|grounded|derived|drawn"
    r"|justified|explained|determined|chosen|selected|consistent|in line|given"
    r"|a (?:reflection|summary|result)|the (?:result|outcome))\b"
)
# Weaker words mark a list only at the beginning of a line, where no final answer is marked.
_WEAK_MARKER = re.compile(
    r"^[^\w\n]{0,8}(?:answers?|(?:the )?values?)[\"'* )]{0,4}:"
    r"|^[^\w\n]{0,8}(?:so |thus |therefore |hence )?,? ?the answer (?:is|would be)\b:?"
    r"|^[^\w\n]{0,8}(?:the |its )?values?\b[^.:;\n]{0,60}\b(?:are|is):"
    r"|^[^\w\n]{0,8}(?:therefore|thus|so|hence|in (?:conclusion|summary|short|sum)|to conclude"
    r"|overall)\b,? [^.:;\n]{0,60}\bvalues?\b"
    r"(?:[^.:;\n]{0,60}\b(?:are|is|include)\b(?! not\b):?| of\b)",
    re.MULTILINE,
)
# A part of an answer that begins with another speaker; with a heading of the answer's own.
_SPEAKER = re.compile(r"[ #>*-]{0,8}(?:user|human):")
_SECTION = re.compile(r"[ #>*-]{0,8}(?:argument|claim|position):")
_BOXED = re.compile(r"\\boxed ?\{")
_BULLET = re.compile(
    r" {0,12}(?:(?:[-*+•·▪◦‣➢→]|\(?\d{1,2}[.):])(?: {1,4}|(?=\W)|$)|(?=[✓✔✅☑✗✘❌✖✕☐☒]|\[[ x✓✔]\]))"
)
_ROW = re.compile(r" {0,12}\|")
_RULE = re.compile(r"[ |:+-]*")
_MARKUP = re.compile(r"\\[a-z]{1,12}|[{}$]")
_AND_SO_ON = re.compile(r"[,;] ?(?:\.\.\.|(?:and )?etc\b|among others\b|and (?:others|more)\b)")
_REASONED = re.compile(rf"\W*{NAME}[\"'*]{{0,4}}(?::| - )(?:\W*\w+){{3}}")
# A list has what is held: after "not Tradition;" stands a value that is.
_DENIED_FIRST = re.compile(rf"\W*(?:not|no) ({NAME}) ?;")
_HEADED = re.compile(rf"(?!\W*{NAME})[^:;]{{1,40}}:")
_REASON = re.compile(r",? (?:because|since)\b[^;(]*")
_BUT = re.compile(r"\b(?:but|yet|though|although|however|still)\b")
_QUOTE = re.compile(r"^ {0,4}> ?", re.MULTILINE)
_WRAPPED = re.compile(r"(?<=[,;])\n(?! {0,12}(?:[-*+•]|\(?\d))")
_SENTENCE_END = re.compile(r"(?<!\d)\.(?=\s|$)|\n")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

_NAME = re.compile(NAME)
_WEAK = word_set("low weak weakly minor minimal limited slight slightly negligible little")
_PLAIN_NO = word_set("no nope nah n false none")
_BROKEN_NAME = 2  # words at most; what follows a list and is longer is a sentence


def parse(text: str) -> tuple[bool, ...] | None:
    """Read an answer of template cot.

    Args:
        text: What the model generated.

    Returns:
        20 bools in the order of ``VALUES``, or ``None`` if the answer cannot be read.
    """
    plain = clean(text)
    if plain is None:
        return None
    said = _read_answer(plain)
    return None if said is None else tuple(said.get(v, False) for v in range(len(VALUES)))


def gold(labels: Sequence[int]) -> str:
    """Return a right answer for labels (20 of 0 or 1) in the order of ``VALUES``.

    Its reasoning says what the labels say, in the words of the values' descriptions.
    """
    held = [value for value, label in zip(VALUES, labels, strict=True) if label]
    if not held:
        return "The argument appeals to none of the values.\nFinal answer: none"
    reasons = [f"- {value.short} ({value.name})" for value in held]
    names = "; ".join(value.name for value in held)
    return "\n".join(["The argument appeals to:", *reasons, f"Final answer: {names}"])


# -------------------------------------------------------------------------- where the list stands


def _read_answer(text: str) -> Said | None:
    """Return what the first marked list says; a final answer goes before a weaker mark.

    Not before the weak mark of an earlier example or turn, though: behind another argument only
    lists that agree are read, and behind another speaker the answer is over.
    """
    turns = parts(text)
    strong, final = _first(turns, _strongly_marked)
    weak, answer = _first(turns, _weakly_marked)
    between = turns[weak + 1 : strong + 1] if weak >= 0 else []
    if strong < 0 and weak < 0:
        return _read_unmarked(text)
    if strong < 0 or any(map(_SPEAKER.match, between)):
        return _read(answer)
    said = _read(final)
    return said if all(map(_SECTION.match, between)) or said == _read(answer) else None


def _first(turns: list[str], marked: Callable[[str], str | None]) -> tuple[int, str]:
    """Return the number of the first part that has a mark, and what follows it; -1 if none has."""
    for number, turn in enumerate(turns):
        rest = marked(turn)
        if rest is not None:
            return number, rest
    return -1, ""


def _strongly_marked(part: str) -> str | None:
    """Return what follows the last mark of a final answer, or stands in the object that it is."""
    found = json_answers.find(part) if part.lstrip().startswith(("{", "json")) else None
    if found and isinstance(found[1], dict) and not (found[2].strip() and _MARKER.search(found[2])):
        data = json_answers.final(found[1])
        if json_answers.lists_at_odds(data):
            return ""
        return "".join(f"\n- {line}" for line in json_answers.lines(data)) or "none"
    return _after_last(part, _MARKER)


def _weakly_marked(part: str) -> str | None:
    """Return what follows the last weak mark of a list."""
    return _after_last(part, _WEAK_MARKER)


def _after_last(part: str, marker: re.Pattern[str]) -> str | None:
    """Return what follows the last mark of a list; ``None`` where nothing is marked."""
    marks = list(marker.finditer(part))
    lists = [mark for mark in marks[1:] if not _is_about_a_list(part, mark)]
    return part[[*marks[:1], *lists][-1].end() :] if marks else None


def _is_about_a_list(part: str, mark: re.Match[str]) -> bool:
    """Return whether a mark that is a verb begins a sentence about a list, and no list."""
    return mark[0][-1].isalpha() and _ABOUT_A_LIST.match(part, mark.end()) is not None


def _read_unmarked(text: str) -> Said | None:
    """Return what the only box of an answer says, or an answer that is a list and nothing else."""
    boxes = list(_BOXED.finditer(text))
    if boxes:
        return _read(text[boxes[0].end() :]) if len(boxes) == 1 else None
    if without_descriptions(text) != text or not _NAME.search(text):
        return None
    lines = [line for line in text.strip().split("\n") if line.strip()]
    if any(map(_ROW.match, lines)):
        return _read_block(lines) if all(map(_ROW.match, lines)) else None
    if all(map(_BULLET.match, lines)):
        return _read_block(lines)
    return read_row(text.strip().removesuffix(".")) if len(lines) == 1 else None


# ------------------------------------------------------------------------------ what the list says


def _read(rest: str) -> Said | None:
    """Return what a text after a mark says about values; ``None`` if that cannot be read."""
    if CORRECTION.search(rest):
        return None
    rest = _QUOTE.sub("", yes_no_columns(rest))
    listed = rest.lstrip(" \n:\"'").removeprefix("json").lstrip()
    if listed.startswith(("[", "{")) and not _BULLET.match(listed):
        found = json_answers.find(listed)
        if found:
            return _read_data(found[1], found[2])
        if not re.search(r"[\]}]", listed):  # cut off
            return None
    rest = without_descriptions(_WRAPPED.sub(" ", _MARKUP.sub(" ", rest)))
    line, _, below = rest.partition("\n")
    lines = [line for line in below.split("\n") if line.strip()]
    if not _WORD.search(line) and any(_BULLET.match(x) or _ROW.match(x) for x in lines[:2]):
        return _read_block(lines)
    return _read_sentences(rest)


def _read_data(data: Any, after: str) -> Said | None:
    """Read an answer in JSON, unless a list goes on behind it."""
    if _NAME.search(after.partition("\n")[0]):
        return None
    data = json_answers.final(data)
    if json_answers.lists_at_odds(data):
        return None
    lines = list(json_answers.lines(data))
    return _read_block([f"- {line}" for line in lines]) if lines else {}


def _read_sentences(text: str) -> Said | None:
    """Read a list that may go on in further sentences or lines; what is no list after it is prose.

    Prose that doubts or denies a listed value makes all of it unreadable.
    """
    if _AND_SO_ON.search(text):
        return None
    said: Said | None = None
    prose = rejecting = False
    for sentence in _SENTENCE_END.split(text):
        words = _WORD.findall(sentence)
        if not words:
            continue
        found = None if prose else _read_sentence(sentence, first=said is None)
        if found is None:
            prose = True
            if said is None or len(words) <= _BROKEN_NAME or _objects(sentence, said):
                return None
            continue
        if said is not None and _ends_in_no(sentence, found):
            return None
        said = found if said is None else _merged(said, found)
        if said is None or (rejecting and all(found.values())):
            return None  # "Not relevant: A\nB": is B held?
        rejecting = bool(_HEADED.match(sentence)) and not any(found.values())
    nothing = said is not None and not any(said.values())
    alone = nothing and (rejecting or len(said or ()) == 1)
    return None if alone else said  # "not Tradition": what else?


def _ends_in_no(sentence: str, found: Said) -> bool:
    """Return whether a line below a list may deny all that it names: "Face; Tradition: no"."""
    verdicts = [token for token in tokenise(sentence) if token.kind == "verdict"]
    fewer = 0 < len(verdicts) < len(found) and not any(token.verdict for token in verdicts)
    return fewer and any(found.values())


def _read_sentence(sentence: str, first: bool) -> Said | None:
    """Read one sentence: names in a row, or names each with a reason ("Face: they fear …; …")."""
    if first:
        sentence = _DENIED_FIRST.sub(r"\1: no;", without_lead_in(sentence), count=1)
    row = _REASON.sub(lambda reason: reason[0] if _NAME.search(reason[0]) else "", sentence)
    found = read_row(row)
    if found is not None:
        return found
    items = [
        _read_item(item.strip()) if _REASONED.match(item) else None for item in sentence.split(";")
    ]
    reasons = [found for item in items if item for found in [item[0]] if item[1] == "reason"]
    if len(reasons) < len(items) or len(_NAME.findall(sentence)) > len(items):
        return None
    return {value: True for said in reasons for value in said}


def _objects(sentence: str, said: Said) -> bool:
    """Return whether a sentence about a listed value doubts or denies it."""
    tokens = list(tokenise(sentence))
    named = {value for token in tokens if token.kind == "name" for value in token.values}
    doubt = any(
        token.kind == "hedge" or token.verdict is False or token.text in DENIALS for token in tokens
    )
    return doubt and any(said.get(value) for value in named)


def _merged(said: Said, found: Said) -> Said | None:
    """Return both together; ``None`` if they contradict, or one says that there is nothing."""
    if bool(said) != bool(found) or any(said.get(v, held) != held for v, held in found.items()):
        return None
    return {**said, **found}


def _read_block(lines: list[str]) -> Said | None:
    """Read bulleted lines or the rows of a table: one value each with what is said about it."""
    said: Said = {}
    none = ended = rejecting = False
    heading = True  # what the heading over these lines says: held, or rejected
    remarks = set()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        row = _ROW.match(line)
        bullet = _BULLET.match(line)
        if row and _is_header(line):
            continue
        if not (row or bullet):
            verdict = _heading(line)
            if verdict is not None:
                heading = verdict
                continue
            if line[:1] != " ":
                ended = True
            if _objects(line, said):
                return None
            continue
        item = line[bullet.end() :] if bullet else line
        if ended:
            if _NAME.search(item):  # is the list going on after all?
                return None
            continue
        if item.strip() == STRUCK.strip() or _heads_halves(item, line, below):
            continue
        found = _read_cells(line) if row else _read_item(item)
        if found is None:
            return None
        values, remark = found
        if rejecting and remark != "yes" and any(values.values()):
            return None  # "- Not relevant: A\n- B": is B held?
        rejecting = not row and bool(_HEADED.match(item)) and not any(values.values())
        none = none or not values
        remarks.add(remark)
        if any(said.get(v, held and heading) != (held and heading) for v, held in values.items()):
            return None
        said.update({v: held and heading for v, held in values.items()})
    if (none and said) or not (none or said) or {"yes", ""} <= remarks:
        return None
    return said


def _heads_halves(item: str, line: str, below: str) -> bool:
    """Return whether a bullet "Universalism:" has bullets of its own below, such as "nature"."""
    deeper = len(below) - len(below.lstrip()) > len(line) - len(line.lstrip())
    return deeper and item.strip(" :*-") in FAMILIES


def _is_header(row: str) -> bool:
    """Return whether a row of a table names no value."""
    return bool(_RULE.fullmatch(row)) or not any(map(read_row, row.split("|")))


def _heading(line: str) -> bool | None:
    """Return what a heading says of the values below: held, rejected; ``None`` if it is none."""
    tokens = [token for token in tokenise(line) if token.kind != "mark"]
    if not line.rstrip().endswith(":") or any(token.kind == "name" for token in tokens):
        return None
    verdicts = {token.verdict for token in tokens if token.kind == "verdict"}
    words = {token.text for token in tokens if token.kind == "word"}
    if not words <= HEADINGS | SMALL_WORDS | {"not"}:
        return None
    return False not in verdicts and "not" not in words


def _read_cells(row: str) -> tuple[Said, str] | None:
    """Return what one row of a table says of its value, and the remark: yes, no, a reason or ''."""
    cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
    named = [(i, said) for i, cell in enumerate(cells) if (said := read_row(cell))]
    if len(named) != 1:
        return None
    index, said = named[0]
    counted = [cell for cell in cells[:index] if not cell.strip("#.()").isdecimal()]
    told = [cell for cell in counted + cells[index + 1 :] if cell]
    if any(map(is_verdict, told)):  # others give reasons: "| No | no customs |"
        told = [cell for cell in told if is_verdict(cell) or not _begins_with_no(cell)]
    remarks = [_remark(cell) for cell in told]
    if "doubt" in remarks or {"yes", "no"} <= set(remarks):
        return None
    if "no" in remarks:
        return dict.fromkeys(said, False), "no"
    return said, "yes" if "yes" in remarks else "".join(remarks[-1:])


def _begins_with_no(cell: str) -> bool:
    """Return whether a cell begins with a word that may deny, in a longer text: "no customs"."""
    words = [token for token in tokenise(cell) if token.kind != "mark"]
    denies = words[0].verdict is False or words[0].text in DENIALS if words else False
    return denies and len(words) > 1 and not _is_closed(cell)


def _read_item(item: str) -> tuple[Said, str] | None:
    """Return what one bullet says: values, or one value and what is said about it."""
    item = item.lstrip(" \"'*_")
    said = read_row(item)
    if said is not None:
        return said, _judgement(item, said)
    name = re.match(rf"[\"'*]{{0,4}}({NAME})[\"'*]{{0,4}} ?(?=[:(=,|-])", item)
    if not name:
        return None
    value, remark = VALUE_OF[letters(name[1])], _remark(item[name.end() :])
    return None if remark == "doubt" else ({value: remark != "no"}, remark)


def _judgement(item: str, said: Said) -> str:
    """Return the remark of an item that is a row of names: yes, no, or "" if it has no verdict."""
    if not all(said.values()):
        return "no"
    return "yes" if any(token.verdict for token in tokenise(item)) else ""


def _remark(text: str) -> str:
    """Return what is said about a value: yes, no, doubt, a reason, or "" if nothing is said."""
    tokens = [t for t in tokenise(text) if t.kind != "mark" and t.text not in SMALL_WORDS]
    words = [token for token in tokens if token.kind != "number"]
    if tokens and tokens[0].kind == "number" and tokens[0].text in ("0", "1") and not words:
        return "yes" if tokens[0].text == "1" else "no"
    if not tokens:
        return ""
    if "?" in text:
        return "doubt"
    if tokens[0].text in ("true", "false") and len(words) > 1 and not _is_closed(text):
        return "reason"  # "false reputation harms"
    if tokens[0].kind == "verdict":
        closed = len(words) == 1 or tokens[0].text not in ("yes", "no") or _is_closed(text)
        hedged = any(token.kind == "hedge" for token in tokens[1:3])
        if not tokens[0].verdict and tokens[0].text not in _PLAIN_NO:
            hedged = hedged or _BUT.search(text) is not None  # "not mentioned, but implied"
        return ("yes" if tokens[0].verdict else "no") if closed and not hedged else "doubt"
    doubtful = any(token.kind == "hedge" or token.text in DENIALS for token in tokens[:2])
    if doubtful or _WEAK.issuperset(token.text for token in words):
        return "doubt"
    return "reason"


def _is_closed(text: str) -> bool:
    """Return whether a mark or "because" follows the first word: "no, …", not "no harm …"."""
    return re.match(r"\W*\w+ ?(?:[^\w\s]|(?:because|since|as)\b)", text) is not None
