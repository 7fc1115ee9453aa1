"""The documentation's numbers of this project's runs are those of their results."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from valueeval.leaderboard.commands.families import families
from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.inference.analysis import analyse
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.results_files import read_results
from valueeval.leaderboard.reading.runs import Run
from valueeval.leaderboard.table.collate import collate
from valueeval.leaderboard.table.table import Row

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "leaderboard"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def official_data(monkeypatch: pytest.MonkeyPatch, real_data_dir: Path) -> None:
    """Labels and conclusions come from the official data: the archive has predictions alone."""
    monkeypatch.setenv("VALUEEVAL_DATA", str(real_data_dir))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    found, problems = read_results(find_results([FOLDER / "results"]))
    assert problems == []
    return found


def rows_of(runs: list[Run]) -> list[Row]:
    return [row for board in analyse(collate(runs)).boards for row in board.rows]


def test_the_leaderboard_is_what_the_archived_results_give(tmp_path: Path) -> None:
    page = Path(shutil.copy(FOLDER / "leaderboard.md", tmp_path))
    names = str(FOLDER / "names.yaml")
    assert main([str(FOLDER / "results"), "--names", names, "-o", str(page)]) == 0
    assert page.read_text() == (FOLDER / "leaderboard.md").read_text()


def test_the_comparisons_of_training_are_what_the_archived_results_give() -> None:
    """Every table, and the number of comparisons and of verdicts that the page sums up."""
    page = (ROOT / "train" / "README.md").read_text()
    found = families(FOLDER / "comparisons.yaml")
    tables = found.split("\n\n**")
    assert len(tables) == 4
    for table in tables:
        assert table.removeprefix("**") in page, "valueeval compare --family writes it"
    rows = [line for line in found.splitlines() if "_f1 |" in line]
    decided = [line for line in rows if not line.endswith("| open |")]
    assert (len(rows), len(decided)) == (27, 2)
    assert "Of 27 comparisons two are decided" in page


def test_the_scores_of_training_are_what_the_archived_results_give(runs: list[Run]) -> None:
    """Each score with an interval is that of a row, or of one seed of a row."""
    on_main = [run for run in runs if run.dataset == "main"]
    known = set()
    for row in [*rows_of(on_main), *(row for run in on_main for row in rows_of([run]))]:
        assert row.macro_interval is not None
        low, high = row.macro_interval
        sd = row.scores["macro_f1"].sd
        spread = "" if sd is None else f" ± {sd:.3f}"
        known.add(f"{row.macro_f1:.3f}{spread} ({low:.3f}–{high:.3f})")  # noqa: RUF001
    page = (ROOT / "train" / "README.md").read_text().replace("**", "")
    pattern = r"0\.\d{3}(?: ± 0\.\d{3})? \(0\.\d{3}–0\.\d{3}\)(?= \|(?: 0\.\d{3}| [\d.]+[Mk]))"  # noqa: RUF001
    shown = re.findall(pattern, page.split("The five adapters of the folds")[0])
    assert len(shown) > 25
    assert set(shown) <= known
    first = (ROOT / "README.md").read_text().replace("**", "")
    rows = re.findall(r"0\.\d{3} \(0\.\d{3}–0\.\d{3}\)(?= \|)", first)  # noqa: RUF001
    assert len(rows) == 11
    assert set(rows) <= {re.sub(r" ± 0\.\d{3}", "", score) for score in known}
    page = (FOLDER / "leaderboard.md").read_text()
    best = re.search(r"(\d+) of (\d+) systems can be the best", page)
    assert best is not None
    assert f"{best[1]} of the {best[2]} systems" in " ".join(first.split())


def test_the_number_of_readings_is_that_of_the_archive(runs: list[Run]) -> None:
    readings = [run for run in runs if run.dataset == "main"]
    rows = {run.system for run in readings}
    page = (ROOT / "train" / "README.md").read_text()
    assert f"{len(readings)} readings of {len(rows)} rows" in page
