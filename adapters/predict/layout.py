"""Which columns of a table hold the argument, and what makes a row no argument."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from valueeval.adapters.tables.rows import Record, as_text, is_blank
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError

_STANCES = {
    "in favor of": (
        *("in favor of", "in favour of", "in favor", "in favour", "favor", "favour"),
        *("for", "pro", "support", "supports", "supporting", "1", "+1"),
    ),
    "against": (
        *("against", "con", "contra", "oppose", "opposes", "opposing"),
        *("-1", "\N{MINUS SIGN}1"),
    ),
}
_OFFICIAL_STANCE = {word: stance for stance, words in _STANCES.items() for word in words}
_KNOWN_STANCES = "; ".join(", ".join(words) for words in _STANCES.values())

# Names of columns that are taken without being asked for, the official one first.
_NAMES = {
    "premise": ("premise", "argument", "reason"),
    "conclusion": ("conclusion", "claim", "thesis", "topic", "motion"),
    "stance": ("stance", "position", "side"),
}
_TEXT_NAMES = (
    *("text", "texts", "sentence", "comment", "post", "tweet", "content", "body", "message"),
    *("response", "answer", "utterance", "statement", "quote", "paragraph"),
)
# How tables say that a text is missing: codes of statistics programs, and Excel's errors.
_MISSING = frozenset(
    ("na", "n/a", "nan", "null", "none", "#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#null!",
     "#num!")
)  # fmt: skip
UNKNOWN_STANCE = "unknown stance"
_PROSE_WORDS = 4  # a column whose cells have as many words, on average, holds texts


class LayoutError(ValueEvalError):
    """It is not clear which columns hold the argument."""


@dataclass(frozen=True)
class RowProblem:
    """Why a row cannot be labelled.

    Attributes:
        kind: The reason in words that other rows share, to be counted.
        text: The reason, with what was found.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Roles:
    """The user's choice of columns; ``None``: found by their names.

    Attributes:
        premise: Column of the premise, or ``=`` and the premise of every row.
        conclusion: Column of the conclusion, or ``=`` and the conclusion of every row.
        stance: Column of the stance, or ``=`` and the stance of every row.
        text_column: Column of texts that have no conclusion and no stance.
        stance_map: Contents of the stance column → a known stance.
    """

    premise: str | None = None
    conclusion: str | None = None
    stance: str | None = None
    text_column: str | None = None
    stance_map: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.text_column is not None:
            for role in ("premise", "conclusion", "stance"):
                if getattr(self, role) is not None:
                    raise LayoutError(
                        f"--text_column is for texts without conclusion and stance: give it or "
                        f"--{role}, not both."
                    )
        for found, meant in self.stance_map.items():
            if _normal(meant) not in _OFFICIAL_STANCE:
                raise LayoutError(
                    f"--stance_map {found}={meant}: {meant!r} is no stance. Known: "
                    f"{_KNOWN_STANCES}."
                )


def parse_stance_map(text: str) -> dict[str, str]:
    """Return the map that ``dafür=pro,dagegen=con`` writes.

    Raises:
        LayoutError: A part has no ``=``.
    """
    found = {}
    for part in text.split(","):
        name, equals, meant = part.rpartition("=")
        if not equals or not name.strip():
            raise LayoutError(
                f"--stance_map {text}: write what stands in the column, =, and pro or con; "
                "separated by commas: dafür=pro,dagegen=con"
            )
        found[name.strip()] = meant.strip()
    return found


@dataclass(frozen=True)
class _Part:
    """One part of the argument: a column's content, or the same text in every row."""

    role: str
    column: str | None = None
    constant: str | None = None

    def of(self, row: Record) -> str | RowProblem:
        """Return the text in a row, or why there is none."""
        if self.column is None:
            return self.constant or ""
        cell = row.cells.get(self.column)
        if is_blank(cell):
            return RowProblem(f"the {self.role} is empty", f"the {self.role} is empty")
        if isinstance(cell, str) and self.role != "stance":
            if cell.strip().casefold() in _MISSING:
                return RowProblem(
                    f"the {self.role} is empty", f"the {self.role} is empty: {cell[:40]}"
                )
            if not any(map(str.isalpha, cell)):
                problem = f"the {self.role} has no letters"
                return RowProblem(problem, f"{problem}: {cell[:40]}")
        if isinstance(cell, str):
            return cell
        if self.role == "stance" and isinstance(cell, (int, float)) and not isinstance(cell, bool):
            return as_text(cell)
        problem = f"the {self.role} is not text"
        return RowProblem(problem, f"{problem}: {as_text(cell)[:40]}")

    @property
    def described(self) -> str:
        """Return in words where it comes from."""
        if self.column is None:
            return f"{self.role} is {self.constant!r}"
        return f"{self.role} from column {self.column!r}"


@dataclass(frozen=True)
class Layout:
    """The columns or constants that give the argument of a row.

    Attributes:
        premise: The premise, or the text that stands alone.
        conclusion: The conclusion; ``None`` for texts alone.
        stance: The stance; ``None`` for texts alone.
        stances: Contents of the stance column, normalised → official stance.
    """

    premise: _Part
    conclusion: _Part | None
    stance: _Part | None
    stances: Mapping[str, str]

    @property
    def text_alone(self) -> bool:
        """Return True if texts are read without conclusion and stance."""
        return self.conclusion is None

    @property
    def described(self) -> str:
        """Return in words where everything comes from."""
        parts = [part for part in (self.premise, self.conclusion, self.stance) if part is not None]
        said = ", ".join(part.described for part in parts)
        if not self.text_alone:
            return said
        return f"{said}, read alone (no conclusion, no stance)"

    @property
    def is_official(self) -> bool:
        """Return True if the columns are those of the shared task's files, with no guess."""
        parts = (self.premise, self.conclusion, self.stance)
        return all(part is not None and part.column == part.role.capitalize() for part in parts)

    def argument(self, row: Record) -> Argument | RowProblem:
        """Return the argument in a row, or why there is none."""
        if row.problem is not None:
            return RowProblem(_kind(row.problem), row.problem)
        texts = []
        for part in (self.premise, self.conclusion, self.stance):
            text = "" if part is None else part.of(row)
            if isinstance(text, RowProblem):
                return text
            texts.append(text)
        premise, conclusion, stance = texts
        if self.stance is None:
            return Argument(row.where, "", "", premise)
        official = self.stances.get(_normal(stance))
        if official is None:
            return RowProblem(UNKNOWN_STANCE, f"{UNKNOWN_STANCE}: {stance[:40]}")
        return Argument(row.where, conclusion, official, premise)


def find_layout(
    columns: Sequence[str], roles: Roles, first_rows: Sequence[Record], name: str
) -> Layout:
    """Return where the argument is in a table.

    Args:
        columns: The table's columns.
        roles: The user's choice of columns.
        first_rows: Some rows, to see which column holds texts if the names do not say it.
        name: The name of the table in messages.

    Raises:
        LayoutError: A column is not there, or it is not clear which is meant; the message names
            the option that says it.
    """
    stances = _OFFICIAL_STANCE | {
        _normal(found): _OFFICIAL_STANCE[_normal(meant)]
        for found, meant in roles.stance_map.items()
    }
    if roles.text_column is not None:
        column = _given(columns, "text_column", roles.text_column, name)
        return Layout(_Part("text", column), None, None, stances)
    said = {"premise": roles.premise, "conclusion": roles.conclusion, "stance": roles.stance}
    parts: dict[str, _Part] = {}
    for role, given in said.items():
        if given is not None and given.startswith("="):
            parts[role] = _Part(role, constant=_constant(role, given[1:].strip(), stances))
        elif given is not None:
            parts[role] = _Part(role, _given(columns, role, given, name))
    taken = {part.column for part in parts.values()}
    for role in said:
        found = None if role in parts else _by_name(columns, role, taken, name)
        if found is not None:
            parts[role] = _Part(role, found)
    if parts.keys() == said.keys():
        return Layout(parts["premise"], parts["conclusion"], parts["stance"], stances)
    if parts.keys() <= {"premise"} and roles.premise is None:
        text = _text_column(columns, first_rows)
        if text is not None:
            return Layout(_Part("text", text), None, None, stances)
    elif "premise" not in parts:
        text = _text_column([c for c in columns if c not in taken], first_rows)
        if text is not None and {*parts, "premise"} == said.keys():
            return Layout(_Part("premise", text), parts["conclusion"], parts["stance"], stances)
    raise LayoutError(_unclear(columns, parts, name))


def _constant(role: str, text: str, stances: Mapping[str, str]) -> str:
    if not text:
        raise LayoutError(f"--{role} =: write the {role} of every row after the =")
    if role == "stance" and _normal(text) not in stances:
        raise LayoutError(f"--stance ={text}: {text!r} is no stance. Known: {_KNOWN_STANCES}.")
    return text


def _given(columns: Sequence[str], role: str, given: str, name: str) -> str:
    if given in columns:
        return given
    same = [column for column in columns if _normal(column) == _normal(given)]
    if len(same) == 1:
        return same[0]
    near = difflib.get_close_matches(given, columns, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    constant = "" if role == "text_column" else f" For the same {role} in every row: '=TEXT'."
    raise LayoutError(f"{name}: no column {given!r} (--{role}).{hint} {_listed(columns)}{constant}")


def _by_name(columns: Sequence[str], role: str, taken: set[str | None], name: str) -> str | None:
    """Return the column that is called as the role is, officially or otherwise."""
    for wanted in _NAMES[role]:
        official = wanted.capitalize()
        if official in columns and wanted == role and official not in taken:
            return official
        same = [c for c in columns if _normal(c) == wanted and c not in taken]
        if len(same) > 1:
            raise LayoutError(f"{name}: columns {same[0]!r} and {same[1]!r}: choose by --{role}.")
        if same:
            return same[0]
    return None


def _text_column(columns: Sequence[str], first_rows: Sequence[Record]) -> str | None:
    """Return the only column that holds texts: by its name, or by what is in it."""
    if len(columns) == 1:
        return columns[0]
    named = [column for column in columns if _normal(column) in _TEXT_NAMES]
    if len(named) == 1:
        return named[0]
    prose = [column for column in columns if _is_prose(column, first_rows)]
    return prose[0] if len(prose) == 1 else None


def _is_prose(column: str, rows: Sequence[Record]) -> bool:
    cells = [row.cells.get(column) for row in rows]
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    words = sum(len(text.split()) for text in texts)
    return bool(texts) and words >= _PROSE_WORDS * len(texts)


def _unclear(columns: Sequence[str], parts: Mapping[str, _Part], name: str) -> str:
    missing = [role for role in _NAMES if role not in parts]
    if missing == ["premise"]:
        said = "which column holds the texts? Say --premise NAME"
    elif "premise" in missing:
        said = (
            "which column holds the texts? Say --text_column NAME for texts alone, or --premise, "
            "--conclusion and --stance for arguments"
        )
    else:
        wanted = " and ".join(f"--{role}" for role in missing)
        alone = parts["premise"].column
        said = (
            f"no column for the {' and the '.join(missing)}. Say {wanted}: "
            f"{'each ' * (len(missing) > 1)}a column, or '=TEXT' for every row"
        )
        if missing == ["conclusion", "stance"] and alone is not None:
            said += f"; or --text_column {alone!r}: the model then reads the text alone"
    return f"{name}: {said}. {_listed(columns)}"


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    return f"Columns: {', '.join(map(repr, columns[:20]))}{more}."


def _kind(problem: str) -> str:
    """Return what problems of rows have in common."""
    if "where the header has" in problem:
        return "too few or too many cells"
    return problem.partition(":")[0]


def _normal(text: Any) -> str:
    """Return a name or stance as it is compared: case folded, blanks joined, «1.0» as «1»."""
    joined = " ".join(str(text).replace("_", " ").casefold().split())
    return joined.removesuffix(".0") if joined in ("1.0", "-1.0", "+1.0") else joined
