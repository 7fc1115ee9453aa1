"""Five folds of set cv, evaluated apart, as one run; and how results of the protocol are ranked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_results import (
    documents,
    manifest,
    only_row,
    predictions,
    statuses,
    table_of,
    write_results,
)

from valueeval.leaderboard.commands.join import main
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import read_checked
from valueeval.leaderboard.reading.results_files import read_results
from valueeval.leaderboard.table.table import LIMITED, RANKED, SEEN
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score

SHA = "+".join(letter * 64 for letter in "bcde")
CV = {"name": "touche23", "set": "cv", "size": 40, "folds": 5, "sha256": SHA, "protocol": "cv",
      "labels_seen": ["training", "validation", "zhihu", "main"]}  # fmt: skip
# Twelve conclusions in five folds.
DOCS = [{**doc, "fold": int(doc["id"][1:3]) % 5} for doc in documents()]
PREDICTION = predictions(DOCS, 0.6)


def adapter(left_out: Sequence[int], **changes: Any) -> dict[str, Any]:
    tuned = {"values": [0.4] * 20, "split": "inner_fold", "metric": "macro_f1"}
    config = {"seed": 1, "epochs": 3, "protocol": "cv", "fold": left_out[0], **changes}
    return manifest(data={**CV, "left_out": list(left_out)}, thresholds=tuned, config=config)


def write_fold(folder: Path, fold: int, **options: Any) -> Path:
    rows = [row for row, doc in enumerate(DOCS) if doc["fold"] == fold]

    def change(content: dict[str, Any]) -> None:
        content["configs"]["valueeval_cls_cv"]["metadata"]["fold"] = fold

    given = {"adapter": adapter([fold]), "model": f"runs/cv{fold}", "kind": "valueeval",
             "model_args": {"adapter": f"runs/cv{fold}"}}  # fmt: skip
    return write_results(folder / f"cv{fold}", docs=[DOCS[row] for row in rows], dataset="cv",
                         prediction=PREDICTION[rows], sha=SHA, day=1 + fold, change=change,
                         **{**given, **options})  # fmt: skip


def test_five_folds_become_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in range(5):
        write_fold(tmp_path / "folds", fold)
    assert {status for status, _, _ in statuses(table_of(tmp_path / "folds"))} == {LIMITED}
    assert main([str(tmp_path / "folds"), "-o", str(tmp_path / "out")]) == 0
    assert "valueeval_cls_cv: " in capsys.readouterr().out
    (run,), problems = read_results(find_results([tmp_path / "out"]))
    assert not problems
    assert (run.arguments, run.limited, run.seen, run.warnings) == (len(DOCS), False, False, ())
    expected = score([doc["labels"] for doc in DOCS], PREDICTION)
    assert run.metrics["macro_f1"] == pytest.approx(expected["macro_f1"])
    found = read_checked(run)  # the samples give the scores of the results
    order = np.argsort([doc["id"] for doc in DOCS])
    assert (found.prediction == PREDICTION[order]).all()
    data, config = run.manifest["data"], run.manifest["config"]
    assert data["left_out"] == [0, 1, 2, 3, 4]
    assert [one["left_out"] for one in config["cross_validation"]] == [[f] for f in range(5)]
    row = only_row(table_of(tmp_path / "out"))
    assert (row.rank, row.run.training_data) == (1, "5 folds of cv")
    assert row.run.model == "cv0+cv1+cv2+cv3+cv4"


def test_a_prompted_model_in_five_parts(tmp_path: Path) -> None:
    for fold in range(5):
        write_fold(tmp_path / "folds", fold, adapter=None, model="gpt2", kind="hf",
                   model_args={"pretrained": "gpt2"})  # fmt: skip
    main([str(tmp_path / "folds"), "-o", str(tmp_path / "out")])
    row = only_row(table_of(tmp_path / "out"))
    assert (row.rank, row.run.model, row.run.method) == (1, "gpt2", "zero-shot")


def test_five_parts_of_folds_are_a_part_of_the_set(tmp_path: Path) -> None:
    """`--samples` of lm-eval leaves no other trace than these numbers."""
    for fold in range(5):
        path = write_fold(tmp_path / "folds", fold)
        content = json.loads(path.read_text())
        content["n-samples"]["valueeval_cls_cv"]["original"] += 3
        content["config"]["failed_requests"] = [{"task": "valueeval_cls_cv", "id": str(fold)}]
        path.write_text(json.dumps(content))
    main([str(tmp_path / "folds"), "-o", str(tmp_path / "out")])
    table = table_of(tmp_path / "out")
    assert statuses(table) == [(LIMITED, "cv", 1)]
    (warning,) = only_row(table).run.warnings
    assert "its server did not answer: 5 " in warning


def refused(places: Sequence[Path], output: Path, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        main([*map(str, places), "-o", str(output)])
    assert not output.exists()


def test_parts_that_are_not_one_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [write_fold(tmp_path, fold) for fold in range(5)]
    refused(parts[:3], out, "no results of fold 3, 4; all 5 are needed")
    again = write_fold(tmp_path / "again", 4)
    refused([*parts, again], out, "fold 4 is there twice, in .*again.* and .*cv4")
    other = write_fold(tmp_path / "other", 4, adapter=adapter([4], epochs=9))
    refused([*parts[:4], other], out, "cv0.* and .*other.*: epochs differs")
    wrong = write_fold(tmp_path / "wrong", 4, adapter=adapter([3]))
    refused([*parts[:4], wrong], out, r"wrong.*: its adapter is not one that .*--fold 4")
    samples = parts[2].with_name(parts[2].name.replace("results_", "samples_valueeval_cls_cv_"))
    samples = samples.with_suffix(".jsonl")
    whole_lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(whole_lines[:-1]))
    there, told = len(whole_lines) - 1, len(whole_lines)
    refused(parts, out, rf"{samples.name}: {there} arguments, and {parts[2].name} tells of {told}")
    samples.unlink()
    refused(parts, out, "no samples beside it; run lm_eval with --log_samples")
    whole = write_results(tmp_path / "whole", docs=DOCS, dataset="cv", sha=SHA)
    refused([whole], out, "a run over all folds; there is nothing to join")
    main_set = write_results(tmp_path / "main")
    refused([main_set], out, "no results of a task valueeval_…_cv")


def test_an_adapter_that_has_seen_the_labels_is_not_ranked(tmp_path: Path) -> None:
    """By the hash of the test set, and by its name where the hash is another."""
    write_results(tmp_path / "a", model="a", adapter=adapter([0]), sha="e" * 64)
    write_results(tmp_path / "b", model="b", adapter=adapter([0]), dataset="zhihu", sha="f" * 64)
    write_results(tmp_path / "c", model="c", adapter=adapter([0]), dataset="nyt", sha="f" * 64)
    table = table_of(tmp_path)
    assert set(statuses(table)) == {(SEEN, "main", 1), (SEEN, "zhihu", 1), (RANKED, "nyt", 1)}
    assert json.dumps([board.status for board in table.boards]).count("seen") == 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({**CV, "left_out": [0, 1, 2, 3, 4]}, RANKED),
        ({**CV, "left_out": [0]}, SEEN),  # of the other folds
        ({**CV, "left_out": [0, 1, 2, 3, 4], "sha256": f"{SHA[:-1]}0"}, SEEN),  # other files
        ({"set": "training", "name": "touche23", "size": 9, "sha256": "b" * 64}, SEEN),
        ({"set": "training", "name": "mine.csv", "size": 9, "sha256": "9" * 64}, RANKED),
    ],
)
def test_who_is_ranked_on_set_cv(tmp_path: Path, data: dict[str, Any], status: str) -> None:
    write_results(tmp_path, docs=DOCS, dataset="cv", sha=SHA, adapter=manifest(data=data))
    assert statuses(table_of(tmp_path)) == [(status, "cv", 1)]
