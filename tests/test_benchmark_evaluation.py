"""benchmarks/evaluation.py runs: tiny models, the sample set, one round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "evaluation.py"


def run(tmp_path: Path, part: str, shape: str) -> tuple[str, list[dict[str, Any]]]:
    """What is printed, and the rows of one part."""
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "--parts", part, "--tasks", "bca,cls"]
    command += ["--size", "tiny", "--shape", shape, "--arguments", "2", "--rounds", "1"]
    command += ["--threads", "1", "--models", str(tmp_path / "models"), "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())[part]
    assert [len(row["ratio_seconds"]) for row in rows] == [1, 1]
    for row in rows:
        assert float(row["difference"].split()[-1]) < 1e-4
    return done.stdout, rows


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["gpt2", "llama", "t5"])
def test_stock_and_ours_are_compared(shape: str, tmp_path: Path) -> None:
    printed, rows = run(tmp_path, "compare", shape)
    assert "peak memory: hf" in printed
    for row in rows:
        assert (row["bound"] is None) == (shape == "t5")


@pytest.mark.slow
def test_both_ways_are_compared(tmp_path: Path) -> None:
    printed, rows = run(tmp_path, "ways", "gpt2")
    assert "as fast as expanded" in printed
    for row in rows:
        assert set(row["peak_bytes"]) == {"expanded", "tree"}


@pytest.mark.slow
def test_an_encoder_decoder_is_read_in_one_way() -> None:
    command = [sys.executable, str(SCRIPT), "--parts", "ways", "--shape", "t5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "--shape gpt2 or llama" in done.stderr
