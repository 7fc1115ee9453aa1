"""The published files, and what is found in a folder in their place."""

from __future__ import annotations

from pathlib import Path

from valueeval.tasks.data.official import OFFICIAL_FILES, verify_folder


def test_names_hashes_and_sizes_are_plausible() -> None:
    assert len({file.name for file in OFFICIAL_FILES}) == len(OFFICIAL_FILES)
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in OFFICIAL_FILES)
    assert [file.name for file in OFFICIAL_FILES if not file.distributed] == [
        "arguments-test-nyt.tsv"
    ]


def test_an_empty_folder_lacks_all_but_what_is_not_distributed(tmp_path: Path) -> None:
    states = verify_folder(tmp_path)
    assert [state.file for state in states] == list(OFFICIAL_FILES)
    assert {state.state for state in states if state.file.distributed} == {"missing"}
    assert [state.file.name for state in states if state.fine] == ["arguments-test-nyt.tsv"]


def test_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    for file in OFFICIAL_FILES[:2]:
        (tmp_path / file.name).write_bytes(b"x" * (file.size or 1))
    (tmp_path / OFFICIAL_FILES[1].name).write_bytes(b"")
    changed, truncated = verify_folder(tmp_path)[:2]
    assert changed.state == "changed"
    assert (truncated.state, truncated.detail) == (
        "truncated",
        f"0 of {OFFICIAL_FILES[1].size} bytes",
    )
    assert not changed.fine
