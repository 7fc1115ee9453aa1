"""What the documentation says of this project's own runs is what their results give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from valueeval.leaderboard.commands.leaderboard import main

FOLDER = Path(__file__).resolve().parents[2] / "leaderboard"


@pytest.mark.slow
def test_the_leaderboard_is_what_the_archived_results_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_data_dir: Path
) -> None:
    """Labels and conclusions come from the official data: the archive has predictions alone."""
    monkeypatch.setenv("VALUEEVAL_DATA", str(real_data_dir))
    page = Path(shutil.copy(FOLDER / "leaderboard.md", tmp_path))
    assert main([str(FOLDER / "results"), "-o", str(page)]) == 0
    assert page.read_text() == (FOLDER / "leaderboard.md").read_text()
