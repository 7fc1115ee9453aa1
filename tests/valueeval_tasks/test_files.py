"""Files that are there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from valueeval.tasks.files import replacing


def write(path: Path, text: str = "new") -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def test_a_file_is_replaced_and_nothing_else_left(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "out", text)
        assert (tmp_path / "out").read_text() == text
    assert os.listdir(tmp_path) == ["out"]


def test_after_an_error_all_is_as_before(tmp_path: Path) -> None:
    write(tmp_path / "out", "before")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "out", "half" * 100_000 + "\ud800")
    assert (tmp_path / "out").read_text() == "before"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_stays_a_link(there: bool, tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["target"]


def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write, args=(pipe, "through the pipe"))
    writer.start()
    assert pipe.read_text() == "through the pipe"
    writer.join()
    assert pipe.is_fifo()
    write(Path(os.devnull))
    assert not Path(os.devnull).is_file()
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("character", ["x", "ß"])
def test_the_longest_name_that_the_file_system_takes(character: str, tmp_path: Path) -> None:
    name = character * (255 // len(character.encode()))
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match="too long"):
        write(tmp_path / ("x" * 256))


LEFT_OVER = ".out.0123456789abcdef.tmp"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    others = [
        ".out.tmp",
        ".out.mine.tmp",
        ".other.0123456789abcdef.tmp",
        "out.0123456789abcdef.tmp",
    ]
    for name in (LEFT_OVER, *others):
        (tmp_path / name).write_text("half")
    write(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "out"])


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "out") as temporary:
        temporary.write_text("first to begin, last to end")
        write(tmp_path / "out", "in between")
        assert (tmp_path / "out").read_text() == "in between"
    assert (tmp_path / "out").read_text() == "first to begin, last to end"
    assert os.listdir(tmp_path) == ["out"]


def test_without_locks_a_left_over_goes_after_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*given: Any) -> None:
        raise OSError("Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / LEFT_OVER).write_text("half")
    for days, there in ((6, [LEFT_OVER, "out"]), (8, ["out"])):
        then = time.time() - days * 24 * 3600
        os.utime(tmp_path / LEFT_OVER, (then, then))
        write(tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == there


def test_a_file_that_is_taken_for_a_left_over_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, []

    def late(stream: Any, operation: int) -> None:
        if not taken:
            taken.append(stream.name)
            os.unlink(stream.name)
        flock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write(tmp_path / "out")
    assert taken
    assert (tmp_path / "out").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]
