"""``valueeval study``: what a person sees, and the whole path with a tiny model."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from valueeval.study import cli
from valueeval.study.cells import resolve
from valueeval.study.cli import main
from valueeval.study.design import DesignError, read_study
from valueeval.study.store import Store


def write(folder: Path, base: str) -> Path:
    options = {"data": "sample", "base": base, "epochs": 1, "train_size": 16, "max_length": 32}
    blocks = {
        "methods": {"factors": {"method": ["head", "full"]}, "options": {"precision": "float32"}},
        "average, both": {"factors": {"method": ["average"], "of": [{"block": "methods"}]}},
    }
    claim = {
        "name": "all weights are better",
        "family": "methods",
        "better": {"method": "full"},
        "than": {"method": "head"},
    }
    content = {"name": "trial", "options": options, "blocks": blocks, "hypotheses": [claim]}
    file = folder / "trial.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def test_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    file = write(tmp_path, str(tmp_path / "base"))
    assert main([str(file), "--plan", "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "methods: head" in shown
    assert "train, evaluate on valueeval_cls_sample" in shown
    assert "hypothesis (methods): all weights are better: 1 against 1 cells by macro_f1" in shown
    assert "trial: 3 cells: 3 waiting" in shown
    assert not (tmp_path / "out").exists()


def test_some_cells_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells are restricted by their factors; those that they need come along."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    file = write(tmp_path, str(tmp_path / "base"))
    words = [str(file), "--plan", "-o", str(tmp_path / "out")]
    assert main([*words, "--only", "block=methods", "--only", "method=head,full"]) == 0
    assert "trial: 2 cells: 2 waiting" in capsys.readouterr().out
    assert main([*words, "--only", "method=full"]) == 0
    assert "trial: 1 cells" in capsys.readouterr().out
    assert main([*words, "--only", "block=average, both"]) == 0
    assert "trial: 3 cells" in capsys.readouterr().out
    for wrong, message in (
        (["--only", "methods=full"], "factors: block, method, of"),
        (["--only", "method=lora"], "no cell has method lora; there are average; full; head"),
        (["--only", "block=average, both", "--only", "method=full"], "no cell has all of these"),
        (["--only", "method=full", "--report", str(tmp_path)], "a report is about all cells"),
    ):
        with pytest.raises(DesignError, match=message):
            main([*words, *wrong])


def test_names_and_reasons_are_text_in_the_live_table(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    study = read_study(write(tmp_path, str(tmp_path / "base")))
    cells = resolve(study, tmp_path / "out")
    steps = {cells[0].key: "train: exit status 1: [/INST] [bold]"}
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(cli._live_table(cells, Store(tmp_path / "out"), steps))
    shown = " ".join(console.export_text().split())
    assert "waiting methods: head train: exit status 1: [/INST] [bold] waiting" in shown


@pytest.mark.slow
def test_a_study_with_a_tiny_model(
    tmp_path: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, str(tiny_bert))
    out = tmp_path / "out"
    assert main([str(file), "-o", str(out), "--workers", "2"]) == 0
    assert "trial: 3 cells: 3 done" in capsys.readouterr().out
    results = sorted(out.glob("cells/*/results/**/results_*.json"))
    assert len(results) == 3
    scores = [json.loads(p.read_text())["results"]["valueeval_cls_sample"] for p in results]
    assert all(0 <= score["macro_f1,none"] <= 1 for score in scores)
    assert main([str(file), "-o", str(out), "--status"]) == 0


@pytest.mark.slow
def test_a_cell_in_two_processes(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"data": "sample", "base": str(tiny_bert), "epochs": 1, "train_size": 16}
    blocks = {"a": {"factors": {"processes": [2]}, "options": {"precision": "float32"}}}
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump({"options": options, "blocks": blocks}), encoding="utf-8")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    out = tmp_path / "out"
    assert main([str(file), "-o", str(out)]) == 0
    (manifest,) = out.glob("cells/*/adapter/valueeval.json")
    assert json.loads(manifest.read_text())["method"] == "full"
