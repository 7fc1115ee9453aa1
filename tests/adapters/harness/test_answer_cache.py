"""``--use_cache``: files that are none."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from valueeval.registration import show_errors_plainly


def test_a_garbage_file_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """lm-eval opens it itself, after the model is made: its error is shown plainly."""
    garbage = tmp_path / "cache.db"
    garbage.write_bytes(b"no database, but many bytes " * 100)
    monkeypatch.setattr(sys, "excepthook", lambda *_: pytest.fail("a traceback"))
    show_errors_plainly()
    with pytest.raises(sqlite3.DatabaseError) as caught, closing(sqlite3.connect(garbage)) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # as lm-eval's SqliteDict begins
    with pytest.raises(SystemExit) as ended:
        sys.excepthook(type(caught.value), caught.value, None)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("valueeval: --use_cache: that file is no cache of answers (")
    assert said.count("\n") == 1
