"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

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
