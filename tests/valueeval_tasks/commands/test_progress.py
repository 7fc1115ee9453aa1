"""The progress bar of the commands."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from valueeval.tasks.commands import progress


def on_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> io.StringIO:
    """What is written to stderr, by a terminal or a file."""
    shown = io.StringIO()

    def console(**options: Any) -> Console:
        assert options == {"stderr": True}
        return Console(file=shown, force_terminal=terminal, width=80)

    monkeypatch.setattr(progress, "Console", console)
    return shown


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, True)
    assert list(progress.tracked([1, 2, 3], "reading samples")) == [1, 2, 3]
    assert "reading samples" in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_items_without_a_length_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, True)
    assert list(progress.tracked((c for c in "abc"), "rendering")) == ["a", "b", "c"]
    assert "/?" in shown.getvalue()


def test_nothing_is_shown_but_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, False)
    assert list(progress.tracked([1, 2, 3], "reading samples")) == [1, 2, 3]
    assert shown.getvalue() == ""


def test_the_bar_goes_away_where_the_work_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, True)
    for item in progress.tracked([1, 2, 3], "reading samples"):
        if item == 2:
            break
    cursor = shown.getvalue()
    assert cursor.count("\x1b[?25l") == cursor.count("\x1b[?25h") == 1
