"""The leaderboard as LaTeX."""

from __future__ import annotations

import re
from pathlib import Path

from leaderboard_results import (
    outputs,
)


def test_latex_is_booktabs_with_balanced_rows(results: Path) -> None:
    page = outputs(results, ".tex")[".tex"]
    for table in page.split(r"\begin{table}")[1:]:
        body = table.split(r"\toprule")[1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        columns = re.search(r"begin\{tabular\}\{(\w+)\}", table)
        assert columns is not None
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[1])}
    assert r"\emph{Adam Smith}" in page
