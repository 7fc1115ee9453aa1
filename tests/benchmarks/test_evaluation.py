"""benchmarks/evaluation.py runs: tiny models, the sample set, one round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "evaluation.py"


def run(tmp_path: Path, *options: str) -> tuple[str, Any]:
    """Return the printed text and the report."""
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), *options, "--size", "tiny", "--rounds", "1"]
    command += ["--threads", "1", "--models", str(tmp_path / "models"), "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(report.read_text())


def compare(
    tmp_path: Path, part: str, shape: str, *options: str
) -> tuple[str, list[dict[str, Any]]]:
    """Return the printed text, and the rows of a comparing part about two tasks."""
    about = ["--parts", part, "--tasks", "bca,cls", "--arguments", "2", "--shape", shape]
    printed, report = run(tmp_path, *about, *options)
    rows = report[part]
    assert [len(row["ratio_seconds"]) for row in rows] == [1, 1]
    for row in rows:
        assert float(row["difference"].split()[-1]) < 1e-4
        assert row["predictions"] == {"arguments": 2, "identical": 2}
    # A comparison with hf takes long: each row is printed when it is there, then all together.
    tables = 2 if part == "compare" else 1
    assert printed.count(" 2 of 2 ") == 2 * tables
    return printed, rows


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["gpt2", "llama", "t5"])
def test_stock_and_ours_are_compared(shape: str, tmp_path: Path) -> None:
    sizes = ["2", "4"] if shape == "gpt2" else ["4"]
    printed, rows = compare(
        tmp_path, "compare", shape, "--hf-batch-sizes", *sizes, "--search-arguments", "1"
    )
    assert "valueeval against hf: 2 arguments" in printed
    for row in rows:
        tried = row["hf_batch_seconds"]
        assert list(tried) == sizes
        assert row["hf_batch_size"] == int(min(tried, key=lambda size: tried[size]))
        assert (row["bound"] is None) == (shape == "t5")


@pytest.mark.slow
def test_precisions_are_compared_on_a_model_of_ones_own(tmp_path: Path, tiny_gpt2: Path) -> None:
    about = ["--parts", "compare", "--tasks", "bca,oa", "--arguments", "2"]
    about += ["--generated-arguments", "1", "--hf-batch-sizes", "4", "--pretrained", str(tiny_gpt2)]
    printed, report = run(tmp_path, *about, "--dtype", "float32", "bfloat16")
    assert printed.startswith(tiny_gpt2.name)
    rows = report["compare"]
    assert [(row["task"], row["dtype"], row["arguments"]) for row in rows] == [
        ("valueeval_bca_sample", "float32", 2),
        ("valueeval_bca_sample", "bfloat16", 2),
        ("valueeval_oa_sample", "float32", 1),
        ("valueeval_oa_sample", "bfloat16", 1),
    ]
    for row in rows:
        for runs in row["fixed"].values():
            assert set(runs[0]) == {"imports", "requests", "model", "statistics"}
    assert "distance from hf in float32" in printed
    assert "processor seconds beside the scoring" in printed


@pytest.mark.slow
def test_both_ways_are_compared(tmp_path: Path) -> None:
    printed, rows = compare(tmp_path, "ways", "gpt2")
    assert "tree against copies" in printed
    for row in rows:
        assert set(row["peak_bytes"]) == {"copies", "tree"}


@pytest.mark.slow
def test_a_precision_is_compared_with_what_auto_takes(tmp_path: Path) -> None:
    printed, rows = compare(tmp_path, "precision", "gpt2")
    assert "auto against float32" in printed
    for row in rows:
        assert set(row["peak_bytes"]) == {"float32", "auto"}


@pytest.mark.slow
def test_growth(tmp_path: Path) -> None:
    printed, report = run(tmp_path, "--parts", "growth", "--growth-arguments", "1")
    assert [row["arguments"] for row in report["growth"]] == [1, 4, 16]
    assert all(row["cpu_seconds"] > 0 for row in report["growth"])
    assert "processor seconds each" in printed


@pytest.mark.slow
def test_a_classifier_against_its_bare_forward_passes(tmp_path: Path, tiny_bert: Path) -> None:
    printed, report = run(
        tmp_path,
        "--parts",
        "classifier",
        "--encoder",
        str(tiny_bert),
        "--classifier-arguments",
        "9",
    )
    ratios = report["classifier"]["ratios"]
    assert [len(ratios[unit]) for unit in ("seconds", "cpu_seconds")] == [1, 1]
    assert "9 arguments" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--parts", "ways", "--shape", "t5"], "--shape gpt2 or llama"),
        (["--tasks", "bca,clx"], "no template 'clx'; there are cls, mbc, bca, oa, cot"),
    ],
    ids=["ways of an encoder-decoder", "unknown task"],
)
def test_what_cannot_be_measured_is_refused(options: list[str], said: str) -> None:
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
