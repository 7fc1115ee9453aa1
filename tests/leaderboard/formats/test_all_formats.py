"""Every format: the same bytes again, and nothing in a name is ever executed."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml
from leaderboard_results import (
    outputs,
    write_results,
)

from valueeval.leaderboard import text

HOSTILE = [
    "<script>alert(1)</script",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)",
    "=HYPERLINK(\"http://example.org\",\"x\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\\input{/etc/passwd}$x^2_1$%&#~{}",
    "[link](javascript:alert(1)) `code` | pipe | **bold**",
    "{{ 7*7 }}{% include 'x' %}",
    "evil\u202eexe.\u2066",
    "nul\x00bell\x07tab\tnewline\nend",
    "\ud800lone surrogate",
    "x" * 5000,
    "--><!-- comment",
]  # fmt: skip


def test_every_output_is_the_same_at_the_second_time(results: Path) -> None:
    endings = (".md", ".csv", ".tex", ".json", ".html", ".yaml")
    assert outputs(results, *endings) == outputs(results, *endings)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text_everywhere(tmp_path: Path, name: str) -> None:
    write_results(tmp_path / "results", model=name, samples=False)
    pages = outputs(tmp_path / "results", ".md", ".csv", ".tex", ".json", ".html", ".yaml")
    shown = text.clean(name)
    assert len(shown) <= 200
    (row,) = [row for row in csv.reader(pages[".csv"].splitlines()) if row[1] == "ranked"]
    assert row[6][:1] not in tuple("=+-@\t\r\n")
    html = pages[".html"]
    assert "<img" not in html
    assert html.count("<script") == 2, "the data and our own script"
    assert html.count("</script>") == 2
    assert "49" not in re.findall(r'class="system">([^<]*)<', html)
    (line,) = [line for line in pages[".md"].splitlines() if "| zero-shot | cls |" in line]
    assert not re.search(r"<(?!/?details|/?summary|!--)\w", line)
    latex = next(line for line in pages[".tex"].splitlines() if line.startswith("1 & "))
    assert "\\input" not in latex
    assert not re.search(r"(?<!\\)[$#%]", latex.replace(r"$\approx$", "").replace(r"$\dagger$", ""))
    assert yaml.safe_load(pages[".yaml"])["model-index"][0]["results"]
    for page in pages.values():
        assert "\x00" not in page
        assert "\u202e" not in page
