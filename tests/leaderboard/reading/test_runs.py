"""Problems of files, as they are told."""

from __future__ import annotations

from valueeval.leaderboard.reading.runs import Problem, merged


def test_files_with_the_same_problem_are_named_together() -> None:
    problems = [Problem("a", "cut off"), Problem("b", "empty file"), Problem("c", "cut off")]
    assert merged(problems) == [Problem("a, c", "cut off"), Problem("b", "empty file")]
    many = [Problem(str(number), "empty file") for number in range(24)]
    assert merged(many) == [Problem("0, 1, 2 and 21 more", "empty file")]
    assert merged([]) == []


def test_a_reason_is_printable() -> None:
    assert Problem("a", "\x1b[31mred\x07").reason == "\ufffd[31mred\ufffd"
