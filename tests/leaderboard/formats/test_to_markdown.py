"""The leaderboard as markdown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from leaderboard_results import (
    outputs,
    write_results,
)

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.tasks.errors import ValueEvalError


def test_markdown_stands_between_markers_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    write_results(tmp_path / "r")
    out = tmp_path / "new.md"
    main([str(tmp_path / "r"), "-o", str(out)])
    rendered = out.read_text(encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n\n" + rendered + "\nThe end.\n", encoding="utf-8")
    write_results(tmp_path / "r", model="second")
    main([str(tmp_path / "r"), "-o", str(readme)])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n\n<!--")
    assert text.endswith("-->\n\nThe end.\n")
    assert "second" in text


@pytest.mark.parametrize("existing", ["# My page\n", "only <!-- one marker", "\udcff"])
def test_a_page_without_markers_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    write_results(tmp_path / "r")
    readme = tmp_path / "README.md"
    readme.write_bytes(existing.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueEvalError, match=r"README\.md"):
        main([str(tmp_path / "r"), "-o", str(readme)])
    assert readme.read_bytes() == existing.encode("utf-8", "surrogateescape")


def test_hostile_names_are_text_in_markdown(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>|[x](javascript:alert(1))`\u202e*b*\ud800\x07"
    write_results(tmp_path / "r", model=name)
    main([str(tmp_path / "r"), "-o", str(tmp_path / "out.md")])
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    line, of_influence = [line for line in page.splitlines() if "onerror" in line]
    assert "<img" not in line + of_influence
    assert "\\|\\[x\\](javascript" in line
    assert line.replace("\\|", "").count("|") == 13, "the name adds no column"
    assert not {"\u202e", "\x07"} & set(page)


def test_an_interval_from_the_results_is_marked_as_such(results: Path) -> None:
    content = outputs(results, ".json", ".md")
    rows = {row["system"]: row for row in json.loads(content[".json"])["rows"]}
    assert rows["minilm"]["interval_from"] == "samples"
    assert rows["gamed"]["interval_from"] == "results"
    (line,) = [line for line in content[".md"].splitlines() if "| gamed |" in line]
    assert "] ° |" in line
    assert "⚠" in line
