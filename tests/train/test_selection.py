"""``valueeval select``: configurations by the predictions of their folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training import small_config, write_small_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.ensemble import find_members
from valueeval.tasks.data.dataset import joined, load_set
from valueeval.tasks.data.folds import folds_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.selection import main, out_of_fold


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), 40, 20)


@pytest.fixture(scope="module")
def runs(tiny_bert: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two configurations in two folds, each as its adapters joined by +; and one without folds."""
    folder, joined_names = tmp_path_factory.mktemp("runs"), []
    options = {"epochs": 1, "batch_size": 16, "method": "head"}
    plain = small_config(folder / "plain", tiny_bert, data_dir, **options)
    for name, rate in (("a", 0.001), ("b", 0.1)):
        outputs = [str(folder / f"{name}{fold}") for fold in range(2)]
        for fold, output in enumerate(outputs):
            train(changed(plain, output=output, learning_rate=rate, folds=2, fold=fold))
        joined_names.append("+".join(outputs))
    train(plain)
    return [*joined_names, plain.output]


def test_each_argument_is_answered_by_the_adapter_that_left_it_out(
    runs: list[str], data_dir: Path
) -> None:
    data = joined(load_set("training", data_dir), load_set("validation", data_dir))
    found = out_of_fold(find_members(runs[0]), data)
    folds = folds_of(data, 2)
    for fold, folder in enumerate(runs[0].split("+")):
        rows = np.flatnonzero(folds == fold).tolist()
        member = load_classifier(folder, "cpu")
        logits = member.logits([data.arguments[row] for row in rows])
        assert (found[rows] == member.manifest.thresholds.decide(logits)).all()


def test_the_command_chooses(
    runs: list[str], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"slow={runs[0]}", f"fast={runs[1]}", "--data_dir", str(data_dir)]
    assert not list(data_dir.glob("*test*"))  # no test set is read: there is none
    assert main([*given, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    data = joined(load_set("training", data_dir), load_set("validation", data_dir))
    scores = {
        name: score(data.labels, out_of_fold(find_members(run), data))["macro_f1"]
        for name, run in zip(("slow", "fast"), runs, strict=False)
    }
    told = {one["name"]: one["macro_f1"]["estimate"] for one in report["candidates"]}
    assert told == pytest.approx(scores)
    assert report["chosen"] == max(scores, key=lambda name: scores[name] or 0.0)
    assert report["arguments"] == 60
    main(given)
    assert f"Chosen: {report['chosen']}, on 60 arguments" in " ".join(
        capsys.readouterr().out.split()
    )


def test_what_is_no_choice(runs: list[str], data_dir: Path) -> None:
    def refused(message: str, *given: str) -> None:
        with pytest.raises(ValueEvalError, match=message):
            main([*given, "--data_dir", str(data_dir)])

    first = runs[0].split("+")[0]
    refused("two configurations at least", f"a={runs[0]}", f"a={runs[1]}")
    refused(r"x: give a configuration as NAME=adapter", f"a={runs[0]}", "x")
    refused("leaves out fold 0 of 2; needed is one adapter", f"a={first}", f"b={runs[1]}")
    refused("needed is an adapter of `valueeval train --folds N", f"a={runs[2]}", f"b={runs[1]}")
