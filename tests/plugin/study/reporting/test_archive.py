"""The archive of a study: the same report on a machine that has neither adapters nor models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import made_up_study
import pytest
import yaml

from valueeval.study.cli import main
from valueeval.study.reporting.archive import archive_cells
from valueeval.study.store import Store
from valueeval.tasks.errors import ValueEvalError


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_the_report_of_an_archive_is_that_of_the_study(
    tmp_path: Path, tiny_gpt2: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Run, archive, lose the model; what the study file says of its weights gives the addresses."""
    from valueeval.adapters.directory.base import weight_hash

    base = tmp_path / "base"
    shutil.copytree(tiny_gpt2, base)
    sha256 = weight_hash(base.glob("*.safetensors"))
    file = tmp_path / "study.yaml"
    content = {
        "bases": {"tiny": {"path": str(base), "sha256": sha256}},
        "options": {"data": "sample", "method": "none", "template": "cls"},
        "blocks": {"asked": {"factors": {"base": ["tiny"], "limit": [6], "paraphrase": [1, 2]}}},
    }
    file.write_text(yaml.safe_dump(content))
    out, copy = tmp_path / "out", tmp_path / "copy"
    assert main([str(file), "-o", str(out)]) == 0
    assert main([str(file), "-o", str(out), "--archive", str(copy)]) == 0
    assert "2 cells archived" in capfd.readouterr().err
    archived = files_under(copy)
    assert {name.rsplit(".", 1)[-1] for name in archived} == {"json", "tsv", "safetensors"}
    assert str(tmp_path).encode() not in b"".join(archived.values())
    cells = [json.loads(text) for name, text in archived.items() if name.endswith("cell.json")]
    assert {cell["factors"]["paraphrase"] for cell in cells} == {1, 2}

    assert main([str(file), "-o", str(out), "--report", str(tmp_path / "own")]) == 0
    shutil.rmtree(base)
    assert main([str(file), "-o", str(copy), "--report", str(tmp_path / "copied")]) == 0
    own = files_under(tmp_path / "own")
    assert b"2 of 2 cells are measured" in own["report.md"]
    assert files_under(tmp_path / "copied") == own

    assert main([str(file), "-o", str(out), "--archive", str(copy)]) == 0  # nothing is new
    assert files_under(copy) == archived


def test_results_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The others are copied; the copy has no results of the one whose samples are lost."""
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store, only=lambda of: of["block"] == "few")
    lost = next(cell for cell in cells if store.results(cell).is_dir())
    next(store.results(lost).rglob("samples_*.jsonl")).unlink()
    copy = Store(tmp_path / "copy")
    number, problems = archive_cells(cells, store, copy.folder)
    assert number == 3
    assert [problem.source for problem in problems] == [lost.design.label]
    assert not copy.results(lost).exists()


def test_the_folder_of_the_study_is_refused(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    with pytest.raises(ValueEvalError, match="the study's own folder"):
        archive_cells(cells, store, tmp_path / "study" / ".." / "out")
