"""The study that was run, studies/offline.yaml: its report is made of the results beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from valueeval.study.cli import main

ROOT = Path(__file__).parents[4]
PUBLISHED = ROOT / "studies" / "offline"
REPORT = PUBLISHED / "report" / "report.md"


@pytest.mark.slow
def test_the_published_report(
    real_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone who has the data gets the same text from the published results, without a model.

    Figures are there, but not compared byte by byte: matplotlib draws differently from version to
    version.
    """
    monkeypatch.setenv("VALUEEVAL_DATA", str(real_data_dir))
    study = ROOT / "studies" / "offline.yaml"
    assert main([str(study), "-o", str(PUBLISHED), "--report", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text == REPORT.read_text(encoding="utf-8")
    measured = re.search(r"^(\d+) of \d+ cells are measured", text, re.MULTILINE)
    assert measured
    assert int(measured[1]) == len(list((PUBLISHED / "cells").iterdir()))
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {path.name for path in (PUBLISHED / "report" / "figures").iterdir()}


@pytest.mark.parametrize(
    ("page", "heading"),
    [("README.md", "What the study found"), ("studies/README.md", "What offline.yaml found")],
)
def test_findings_name_numbers_of_the_report(page: str, heading: str) -> None:
    """Every score with three decimals in the findings stands in the report."""
    text = (ROOT / page).read_text(encoding="utf-8")
    findings = text.partition(f"## {heading}")[2].partition("\n## ")[0]
    scores = set(re.findall(r"\b0\.\d{3}\b", findings))
    assert scores
    report = REPORT.read_text(encoding="utf-8")
    assert scores <= set(re.findall(r"\b0\.\d{3}\b", report))


def test_the_readme_says_how_much_of_the_study_was_run() -> None:
    said = r"(\d+)\s+of\s+its\s+(\d+)\s+results"
    reported = r"(\d+) of (\d+) cells are measured"
    readme = re.search(said, (ROOT / "README.md").read_text(encoding="utf-8"))
    report = re.search(reported, REPORT.read_text(encoding="utf-8"))
    assert readme
    assert report
    assert readme.groups() == report.groups()
