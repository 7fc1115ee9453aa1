"""The notebook of examples/: it runs as it stands, and what is committed was run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "label_evaluate_compare.ipynb"


def cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> str:
    """The last output of a cell, as HTML."""
    return str(cell.outputs[-1]["data"]["text/html"])


def check(notebook: Any) -> None:
    *_, evaluated, _, board, compared = cells(notebook)
    assert all(cell.execution_count for cell in cells(notebook))
    assert not any(out.output_type == "error" for cell in cells(notebook) for out in cell.outputs)
    assert "macro_f1" in shown(evaluated)
    assert "baseline every value" in shown(board)
    assert "macro_f1" in shown(compared)


def test_the_committed_notebook_was_run_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    check(nbformat.reads(text, as_version=4))
    assert len(text) < 100_000
    for path in ("/home/", "/root", "/work", "/tmp", "/Users/", "\\\\Users"):  # noqa: S108
        assert path not in text


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="no nbclient (extra: dev)")
    programs = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in cells(notebook):
        cell.outputs, cell.execution_count = [], None
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    check(notebook)
