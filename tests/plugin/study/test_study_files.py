"""The study files of the repository are planned, without a hub and without running anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from valueeval.study.cells import resolve
from valueeval.study.design import read_study

STUDIES = Path(__file__).parents[3] / "studies"
FILES = sorted(STUDIES.glob("*.yaml"))


def test_they_are_there() -> None:
    names = {file.stem for file in FILES}
    assert {"paper", "size-ladder", "few-shot", "contrastive", "aligned", "offline"} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_cell_can_be_planned(
    file: Path, real_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options go together, hypotheses compare like with like, and no cell is there twice."""
    monkeypatch.setenv("VALUEEVAL_DATA", str(real_data_dir))
    study = read_study(file)
    listed = {id(design) for design in study.cells}
    cells = [cell for cell in resolve(study, tmp_path) if id(cell.design) in listed]
    assert len(cells) == len(study.cells)
    assert study.hypotheses
    in_blocks = {}
    for cell in cells:
        in_blocks.setdefault(cell.design.factors["block"], []).append(cell.key)
    assert all(len(keys) == len(set(keys)) for keys in in_blocks.values())
