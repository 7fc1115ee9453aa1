"""The leaderboard as LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from leaderboard_results import manifest, outputs, write_results

from valueeval.leaderboard.formats.to_latex import COLUMNS
from valueeval.tasks.errors import ValueEvalError

_LATEX = shutil.which("pdflatex")


def tables(page: str) -> list[tuple[int, list[str]]]:
    """The number of columns and the lines of each table."""
    found = []
    for table in page.split(r"\begin{longtable}")[1:]:
        columns = table.splitlines()[0].replace(
            r">{\raggedright\arraybackslash}p{0.24\linewidth}", "p"
        )
        body = table.split(r"\endfoot")[1].split(r"\end{longtable}")[0]
        found.append((len(columns.strip("{}")), [line for line in body.splitlines() if line]))
    return found


def test_latex_is_booktabs_with_balanced_rows(results: Path) -> None:
    page = outputs(results, ".tex")[".tex"]
    assert tables(page)
    for columns, lines in tables(page):
        rows = [line for line in lines if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}
    assert r"\emph{Adam Smith}" in page
    (oracle,) = [line for line in page.splitlines() if "oracle" in line]
    ranked = [line for line in tables(page)[0][1] if not line.startswith(r"\midrule")]
    assert ranked.index(oracle) > ranked.index(next(line for line in ranked if "gpt2" in line))


def test_columns_and_rows_can_be_chosen(results: Path) -> None:
    options = ["--columns", "rank, system,macro_f1,seeds", "--top", "1"]
    ((columns, lines), *_) = tables(outputs(results, ".tex", options=options)[".tex"])
    assert columns == 4
    assert [line for line in lines if line.startswith("1 &")]
    assert not [line for line in lines if line.startswith("2 &")]
    with pytest.raises(ValueEvalError, match="no column is called macro_f; did you mean macro_f1"):
        outputs(results, ".tex", options=["--columns", "macro_f"])


def test_a_row_may_begin_with_a_bracket(results: Path) -> None:
    """LaTeX reads `[` and `*` as part of the line break before them."""
    page = outputs(results, ".tex", options=["--columns", "interval,system"])[".tex"]
    rows = [line for _, lines in tables(page) for line in lines if line.endswith(r"\\")]
    assert any(row.startswith("{}[0.") for row in rows)
    assert not any(row.startswith(("[", "*")) for row in rows)


def test_reasons_to_doubt_a_row_stand_in_the_caption(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write_results(folder / "a", model="tuned", dataset="validation", adapter=manifest())
    write_results(folder / "b", model="prompted", dataset="validation")
    page = outputs(folder, ".tex")[".tex"]
    assert r"minilm$\ddagger$" in page
    assert r"$\ddagger$: epoch and thresholds chosen on this very set (validation)." in page
    assert r"prompted$\ddagger$" not in page


@pytest.mark.skipif(_LATEX is None, reason="no pdflatex (Debian: texlive-latex-recommended)")
@pytest.mark.parametrize("columns", [None, ",".join(COLUMNS)])
def test_latex_compiles_and_the_usual_columns_fit_a_page(
    results: Path, columns: str | None
) -> None:
    write_results(results / "hostile", model="\\input{x}$x^2_1$%&#~{}", samples=False)
    options = [] if columns is None else ["--columns", columns]
    page = outputs(results, ".tex", options=options)[".tex"]
    document = (
        r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}"
        rf"\usepackage{{array,booktabs,longtable}}\begin{{document}}{page}\end{{document}}"
    )
    folder = results.parent
    (folder / "page.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        [str(_LATEX), "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    if columns is None:
        wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\) in alignment", done.stdout)
        assert all(float(points) < 1 for points in wide)
