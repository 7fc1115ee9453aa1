"""Run files: what the shared task's evaluator scores is read with the same result."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from valueeval.tasks.data.dataset import LABEL_COLUMNS, read_labels
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.runfile import read_run, write_run
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUE_NAMES

IDS = ("A1", "A2", "A3")
PREDICTION = np.array([[v in row for v in range(20)] for row in ({0, 19}, {2, 3, 4}, set())])
STIMULATION, HEDONISM = VALUE_NAMES.index("Stimulation"), VALUE_NAMES.index("Hedonism")


def write_columns(path: Path, keep: list[str], **how: object) -> None:
    """Write PREDICTION with some of the columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n", **how)
        rows.writerow(keep)
        for id, row in zip(IDS, PREDICTION, strict=True):
            cells = dict(zip(LABEL_COLUMNS, [id, *map(int, row)], strict=True))
            rows.writerow([cells[name] for name in keep])


def test_values_whose_columns_are_missing_count_as_not_predicted(tmp_path: Path) -> None:
    path = tmp_path / "run.tsv"
    write_columns(path, [name for name in LABEL_COLUMNS if name not in ("Stimulation", "Hedonism")])
    run = read_run(path)
    expected = PREDICTION.copy()
    expected[:, [STIMULATION, HEDONISM]] = False
    assert run.ids == IDS
    assert (run.prediction == expected).all()


def test_one_value_column_is_enough_and_none_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run.tsv"
    write_columns(path, ["Achievement", "Argument ID"])
    assert read_run(path).prediction.sum(axis=0).tolist() == [0, 0, 0, 0, 1, *[0] * 15]
    write_columns(path, ["Argument ID"])
    with pytest.raises(ValueEvalError, match=r"line 1 \(header\): .* and 17 more"):
        read_run(path)
    write_columns(path, list(VALUE_NAMES))
    with pytest.raises(ValueEvalError, match="column 'Argument ID' is missing"):
        read_run(path)


def test_labels_need_every_column(tmp_path: Path) -> None:
    write_columns(tmp_path / "labels.tsv", list(LABEL_COLUMNS[:-1]))
    with pytest.raises(ValueEvalError, match="'Universalism: objectivity' is missing"):
        read_labels(tmp_path / "labels.tsv")


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_quoted_fields(quoting: int, tmp_path: Path) -> None:
    path = tmp_path / "run.tsv"
    write_columns(path, list(LABEL_COLUMNS), quoting=quoting)
    assert path.read_text().startswith('"Argument ID"\t"Self-direction: thought"')
    run = read_run(path)
    assert run.ids == IDS
    assert (run.prediction == PREDICTION).all()
    with pytest.raises(ValueEvalError, match="unknown column"):
        read_labels(path)


def test_a_header_of_many_unknown_columns_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.tsv"
    path.write_text("\t".join(f"{'x' * 1000}{i}" for i in range(20_000)) + "\n")
    with pytest.raises(ValueEvalError) as refused:
        read_run(path)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("id", ["B\u202e9", "B" * 100_000])
def test_ids_in_messages_are_printable_and_short(id: str, tmp_path: Path) -> None:
    path = tmp_path / "run.tsv"
    write_run(path, [id, *IDS[1:]], PREDICTION)
    with pytest.raises(ValueEvalError, match="in the run but not in labels") as refused:
        read_run(path).aligned(IDS, "labels.tsv")
    assert "\u202e" not in str(refused.value)
    assert len(str(refused.value)) < 500


# ------------------------------------------------------------------------------- the real labels


def official(truth: list[dict[str, str]], run: list[dict[str, str]]) -> float:
    """F1 by the definition of the shared task, on tables as ``csv.DictReader`` reads them."""
    labels = {row["Argument ID"]: row for row in truth}
    precisions, recalls = [], []
    for value in VALUE_NAMES:
        relevant = sum(row[value] == "1" for row in truth)
        positive = [row["Argument ID"] for row in run if row.get(value) == "1"]
        hits = sum(labels[id][value] == "1" for id in positive)
        precisions.append(hits / len(positive) if positive else 0)
        recalls.append(hits / relevant)
    precision, recall = sum(precisions) / 20, sum(recalls) / 20
    return 2 * precision * recall / (precision + recall)


MISSING = ("Stimulation", "Hedonism")


@pytest.fixture
def truth(real_data_dir: Path) -> list[dict[str, str]]:
    """The released test labels."""
    with (real_data_dir / "labels-test.tsv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def official_f1(run: Path, real_data_dir: Path) -> float | None:
    ids, labels = read_labels(real_data_dir / "labels-test.tsv")
    return score(labels, read_run(run).aligned(ids, "the test labels"))["official_f1"]


def write_run_without_two(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows but for the columns MISSING, in quotes and with Windows line ends."""
    kept = [name for name in LABEL_COLUMNS if name not in MISSING]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(
            file, kept, delimiter="\t", extrasaction="ignore", quoting=csv.QUOTE_ALL
        )
        table.writeheader()
        table.writerows(rows)


def test_the_right_answers_without_two_columns_score_09(
    truth: list[dict[str, str]], real_data_dir: Path, tmp_path: Path
) -> None:
    """Precision and recall are 1 for 18 values and 0 for 2: their means are 18/20."""
    write_run_without_two(tmp_path / "run.tsv", truth)
    assert official_f1(tmp_path / "run.tsv", real_data_dir) == pytest.approx(0.9, abs=1e-12)


def test_a_run_without_two_columns_scores_as_by_the_definition_of_the_shared_task(
    truth: list[dict[str, str]], real_data_dir: Path, tmp_path: Path
) -> None:
    # Right but for each seventh argument, for which it predicts the values of the next one.
    rows = [
        {**truth[(i + (i % 7 == 0)) % len(truth)], "Argument ID": row["Argument ID"]}
        for i, row in enumerate(truth)
    ]
    path = tmp_path / "run.tsv"
    write_run_without_two(path, rows)
    with path.open(newline="", encoding="utf-8") as file:
        expected = official(truth, list(csv.DictReader(file, delimiter="\t")))
    assert official_f1(path, real_data_dir) == pytest.approx(expected, abs=1e-12)
    zeros = [{**row, **dict.fromkeys(MISSING, "0")} for row in rows]
    assert official(truth, zeros) == expected
    assert official(truth, rows) > expected + 0.05  # they are not nothing
