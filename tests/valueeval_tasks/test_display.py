"""Text that anybody may have written is shown safely."""

from __future__ import annotations

import pytest

from valueeval.tasks.display import clean, did_you_mean, error_message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A1", "A1"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("bell\x07", "bell\ufffd"),
        ("gnp.exe\u202e", "gnp.exe\ufffd"),
        ("\ud800", "\ufffd"),
        ("zero\u200bwidth", "zero\ufffdwidth"),
        (" two\n\tlines ", "two lines"),
        ("Schöne Grüße, 世界", "Schöne Grüße, 世界"),
        (12, "12"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_clean(text: object, shown: str) -> None:
    assert clean(text) == shown


def test_an_error_keeps_its_lines_and_the_end_of_long_ones() -> None:
    assert error_message("a\x07b\nwhat to do") == "a\ufffdb\nwhat to do"
    first, second = error_message("/" + "x" * 100_000 + ": too long\n\u202esecond").split("\n")
    assert len(first) == 1003
    assert first.startswith("/xxx")
    assert first.endswith("xxx: too long")
    assert second == "\ufffdsecond"


def test_the_nearest_name_is_asked_for() -> None:
    assert did_you_mean("lorra", ("full", "lora")) == "; did you mean lora?"
    assert did_you_mean("lorra", {"lora": 1}) == "; did you mean lora?"
    assert did_you_mean("x", ("full", "lora")) == ""
