"""benchmarks/evaluation.py runs: tiny models, the sample set, one round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "evaluation.py"


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["gpt2", "llama", "t5"])
def test_stock_and_ours_are_compared(shape: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "--parts", "compare", "--tasks", "bca,cls"]
    command += ["--size", "tiny", "--shape", shape, "--arguments", "2", "--rounds", "1"]
    command += ["--threads", "1", "--models", str(tmp_path / "models"), "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "peak memory: hf" in done.stdout
    rows = json.loads(report.read_text())["compare"]
    assert [len(row["ratio_seconds"]) for row in rows] == [1, 1]
    for row in rows:
        assert float(row["difference"].split()[-1]) < 1e-4
        assert (row["bound"] is None) == (shape == "t5")
