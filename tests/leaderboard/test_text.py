"""Strings and numbers for people."""

from __future__ import annotations

from valueeval.leaderboard import text


def test_csv_keeps_numbers_numbers_and_marks_formulas() -> None:
    assert text.csv("=1+1") == "'=1+1"
    assert text.csv("minilm") == "minilm"
    assert text.latex("a_b & 50% \\ {x}") == r"a\_b \& 50\% \textbackslash{} \{x\}"
    assert text.markdown("a|b <i> [x](y)") == r"a\|b &lt;i&gt; \[x\](y)"


def test_counts_are_short() -> None:
    given = [None, 0, 999, 1000, 22_720_916, 999_600, 124_439_808, 7_000_000_000]
    assert [text.count(n) for n in given] == [
        "", "0", "999", "1k", "22.7M", "1M", "124M", "7B",
    ]  # fmt: skip
