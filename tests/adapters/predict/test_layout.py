"""Which columns hold the argument: by name, by option, by what is in them; and problems of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from valueeval.adapters.predict.layout import (
    Layout,
    LayoutError,
    Roles,
    RowProblem,
    find_layout,
    parse_stance_map,
)
from valueeval.adapters.tables.rows import Record
from valueeval.tasks.data.dataset import Argument

OFFICIAL = ("Argument ID", "Conclusion", "Stance", "Premise")


def found(columns: Sequence[str], first: Sequence[Any] = (), **roles: Any) -> Layout:
    rows = [Record("line 2", dict(zip(columns, first, strict=False)))] if first else []
    return find_layout(columns, Roles(**roles), rows, "t.csv")


def told(columns: Sequence[str], first: Sequence[Any] = (), **roles: Any) -> str:
    with pytest.raises(LayoutError) as caught:
        found(columns, first, **roles)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "described"),
    [
        (OFFICIAL, "premise from column 'Premise', conclusion from column 'Conclusion', stance"),
        (("PREMISE", " stance ", "Claim"), "'PREMISE', conclusion from column 'Claim', stance"),
        (("argument", "topic", "position"), "'argument', conclusion from column 'topic', stance"),
        (("id", "Text", "Topic", "Stance"), "premise from column 'Text', conclusion from column"),
        (("anything",), "text from column 'anything', read alone (no conclusion, no stance)"),
    ],
)
def test_by_name(columns: Sequence[str], described: str) -> None:
    assert described in found(columns).described


def test_official_columns_are_not_told() -> None:
    assert found(OFFICIAL).is_official
    assert not found(("premise", "conclusion", "stance")).is_official


def test_by_what_is_in_the_columns() -> None:
    columns = ("Nr", "Interview", "Land")
    layout = found(columns, ("1", "We all want to live in peace", "DE"))
    assert layout.described == (
        "text from column 'Interview', read alone (no conclusion, no stance)"
    )
    assert "which column holds the texts? Say --text_column NAME" in told(columns, ("1", "", "DE"))
    two = told(columns, ("1", "We all want peace", "The land of the free"))
    assert "which column holds the texts?" in two
    assert two.endswith("Columns: 'Nr', 'Interview', 'Land'.")


@pytest.mark.parametrize(
    ("columns", "roles", "message"),
    [
        (
            ("Premise",),
            {"premise": "Premise"},
            "Say --conclusion and --stance: each a column, or '=",
        ),
        (("Premise", "b"), {}, "or --text_column 'Premise': the model then reads the text alone"),
        (("Premise", "Topic"), {}, "no column for the stance. Say --stance: a column, or '=TEXT'"),
        (("Premise", "Stance"), {}, "no column for the conclusion. Say --conclusion"),
        (("a", "b"), {"conclusion": "a", "stance": "b"}, "which column holds the texts? Say --pre"),
        (OFFICIAL, {"premise": "premiss"}, "no column 'premiss' (--premise). Did you mean 'Pre"),
        (OFFICIAL, {"stance": "side"}, "For the same stance in every row: '=TEXT'."),
        (OFFICIAL, {"text_column": "side"}, "no column 'side' (--text_column)"),
        (OFFICIAL, {"stance": "=maybe"}, "--stance =maybe: 'maybe' is no stance. Known: in favor"),
        (OFFICIAL, {"conclusion": "= "}, "--conclusion =: write the conclusion of every row"),
        (OFFICIAL, {"text_column": "Premise", "stance": "=for"}, "give it or --stance, not both"),
        (("Claim", "claim", "Premise", "Stance"), {}, "columns 'Claim' and 'claim': choose by --c"),
        (OFFICIAL, {"stance_map": {"x": "maybe"}}, "--stance_map x=maybe: 'maybe' is no stance"),
    ],
)
def test_refusals_name_the_option(
    columns: Sequence[str], roles: dict[str, Any], message: str
) -> None:
    assert message in told(columns, **roles)


def test_many_columns_are_not_all_listed() -> None:
    assert told([f"c{n}" for n in range(500)]).endswith("'c19' and 480 more.")


def argument(layout: Layout, **cells: Any) -> Argument | RowProblem:
    return layout.argument(Record("line 2", cells))


def test_constants() -> None:
    layout = found(("text",), premise="text", conclusion="=Ban cars", stance="=pro")
    assert layout.described == (
        "premise from column 'text', conclusion is 'Ban cars', stance is 'pro'"
    )
    assert argument(layout, text="Loud") == Argument("line 2", "Ban cars", "in favor of", "Loud")


@pytest.mark.parametrize(
    ("stance", "official"),
    [
        ("pro", "in favor of"), (" In  favour of", "in favor of"), ("SUPPORTS", "in favor of"),
        ("1", "in favor of"), (1, "in favor of"), (1.0, "in favor of"), ("+1", "in favor of"),
        ("CON", "against"), ("-1", "against"), (-1, "against"), ("-1.0", "against"),
        ("\N{MINUS SIGN}1", "against"), ("Dafür", "in favor of"), ("dagegen ", "against"),
        (0, "against"),
    ],
)  # fmt: skip
def test_stances(stance: Any, official: str) -> None:
    meant = parse_stance_map("dafür=pro,dagegen=con,0=con")
    layout = found(OFFICIAL, stance_map=meant)
    assert argument(layout, Premise="p", Conclusion="c", Stance=stance) == Argument(
        "line 2", "c", official, "p"
    )


def test_stance_maps() -> None:
    assert parse_stance_map("a=b=pro, x = con") == {"a=b": "pro", "x": "con"}
    for text in ("pro", "=pro", "a=pro,,b=con"):
        with pytest.raises(LayoutError, match="separated by commas"):
            parse_stance_map(text)


@pytest.mark.parametrize(
    ("cells", "kind", "text"),
    [
        ({"Premise": " "}, "the premise is empty", "the premise is empty"),
        ({"Premise": None}, "the premise is empty", "the premise is empty"),
        ({"Premise": float("nan")}, "the premise is empty", "the premise is empty"),
        ({"Premise": " N/A "}, "the premise is empty", "the premise is empty:  N/A "),
        ({"Premise": "#REF!"}, "the premise is empty", "the premise is empty: #REF!"),
        ({"Premise": "-99"}, "the premise has no letters", "the premise has no letters: -99"),
        (
            {"Premise": "?" * 99},
            "the premise has no letters",
            f"the premise has no letters: {'?' * 40}",
        ),
        ({"Premise": 12.0}, "the premise is not text", "the premise is not text: 12"),
        ({"Premise": ["a"]}, "the premise is not text", 'the premise is not text: ["a"]'),
        ({"Premise": "p"}, "the conclusion is empty", "the conclusion is empty"),
        ({"Premise": "p", "Conclusion": "c"}, "the stance is empty", "the stance is empty"),
        (
            {"Premise": "p", "Conclusion": "c", "Stance": "7" * 5000},
            "unknown stance",
            "unknown stance: " + "7" * 40,
        ),
        (
            {"Premise": "p", "Conclusion": "c", "Stance": True},
            "the stance is not text",
            "the stance is not text: true",
        ),
    ],
)
def test_problems_of_rows(cells: dict[str, Any], kind: str, text: str) -> None:
    assert argument(found(OFFICIAL), **cells) == RowProblem(kind, text)


def test_problems_of_the_table_are_passed_on() -> None:
    row = Record("line 2", {"text": "x"}, "5 cells where the header has 1; the rest: a")
    assert found(("text",)).argument(row) == RowProblem(
        "too few or too many cells", row.problem or ""
    )


def test_a_text_alone_has_no_conclusion() -> None:
    layout = found(OFFICIAL, text_column="Premise")
    assert layout.text_alone
    assert argument(layout, Premise="Shade is nice", Stance="pro") == Argument(
        "line 2", "", "", "Shade is nice"
    )
