"""benchmarks/thresholds.py: what it prints is what an evaluation of the adapters gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training import small_config, write_small_data

from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.scores.scoring import score
from valueeval.train.options import changed
from valueeval.train.run import train

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "thresholds.py"


@pytest.mark.parametrize("folds", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_its_numbers_are_those_of_an_evaluation(
    folds: int | None, tiny_bert: Path, tmp_path: Path
) -> None:
    data = write_small_data(tmp_path / "data", 40, 20)
    for kind in ("arguments", "labels"):
        shutil.copy(data / f"{kind}-validation.tsv", data / f"{kind}-test.tsv")
    config = small_config(tmp_path / "a", tiny_bert, data, method="head", epochs=1)
    adapters = [str(tmp_path / name) for name in "ab"]
    for number, output in enumerate(adapters):
        fold = None if folds is None else number
        train(changed(config, output=output, seed=number, folds=folds, fold=fold))
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), *adapters, "--data-dir", str(data), "--json", report]
    command += ["--write", str(tmp_path / "written")]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads(report.read_text("utf-8"))
    assert found.keys() == {"half", "global", "per-value", "shrunk"}
    test = load_set("main", data)
    classifiers = [load_adapter(name, "cpu") for name in adapters]
    # As they are, adapters have thresholds halfway between the two kinds.
    logits = [classifier.logits(test.arguments) for classifier in classifiers]
    margins = [
        own - classifier.manifest.thresholds.logits
        for own, classifier in zip(logits, classifiers, strict=True)
    ]
    for rows, margin in zip(found["shrunk"]["each"], margins, strict=True):
        scores = score(test.labels, margin > 0)
        assert rows == {name: scores[name] for name in rows}
    averaged = score(test.labels, np.mean(margins, axis=0) > 0)
    assert found["shrunk"]["average"] == [{n: averaged[n] for n in ("macro_f1", "official_f1")}]
    halves = score(test.labels, logits[0] > 0)
    assert found["half"]["each"][0]["macro_f1"] == halves["macro_f1"]
    assert len(list((tmp_path / "written").iterdir())) == 3 * 2
    for way, rows in found.items():
        if way == "shrunk":  # as they are
            continue
        for name, row in zip("ab", rows["each"], strict=True):
            written = load_adapter(str(tmp_path / "written" / f"{way}-{name}"), "cpu")
            assert written.manifest.config["thresholds"] == way
            margin = written.logits(test.arguments) - written.manifest.thresholds.logits
            assert row["macro_f1"] == score(test.labels, margin > 0)["macro_f1"]
            if folds is None:  # validation is a copy of the test set
                assert row["macro_f1"] == written.manifest.validation["macro_f1"]
