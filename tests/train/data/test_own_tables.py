"""Labelled tables of one's own as training data."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openpyxl import Workbook
from training import small_config, write_small_data

from valueeval.adapters.directory.manifest_file import CARD_FILE
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS
from valueeval.train.config.choice import ConfigError
from valueeval.train.data.own_tables import load_table_sets, split_of_each
from valueeval.train.options import changed, configure
from valueeval.train.run import load_published, load_splits, train

_ALL = load_set("sample_training")
ROWS = 40
# Every fifth argument, so that there are conclusions enough.
_CHOSEN = list(range(0, 5 * ROWS, 5))
DATA = replace(
    _ALL, arguments=tuple(_ALL.arguments[row] for row in _CHOSEN), labels=_ALL.labels[_CHOSEN]
)
HEADER = ["Premise", "Conclusion", "Stance"]


def rows(labels: tuple[str, ...] = VALUE_NAMES, **more: list[Any]) -> list[list[Any]]:
    """Return a header and the first arguments of the sample set, with more columns."""
    table: list[list[Any]] = [[*HEADER, *labels, *more]]
    for place, one in enumerate(DATA.arguments[:ROWS]):
        stance = "pro" if one.stance == "in favor of" else "con"
        cells = [one.premise, one.conclusion, stance, *DATA.labels[place].astype(int).tolist()]
        table.append([*cells, *(column[place] for column in more.values())])
    return table


def write_csv(path: Path, table: list[list[Any]], delimiter: str = ";") -> Path:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(table)
    path.write_text(out.getvalue(), "utf-8")
    return path


def write_xlsx(path: Path, table: list[list[Any]]) -> Path:
    book = Workbook()
    for row in table:
        book.active.append(row)
    book.save(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_fifth_of_the_conclusions_is_for_validation(tmp_path: Path, kind: str) -> None:
    labels = VALUE_NAMES if kind == "csv" else VALUE_SLUGS
    write = write_csv if kind == "csv" else write_xlsx
    path = write(tmp_path / f"my.{kind}", rows(labels))
    training, validation = load_table_sets(str(path))
    assert (training.name, validation.name) == ("training", "validation")
    assert training.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not training.official
    of = {one.premise: row for row, one in enumerate(DATA.arguments[:ROWS])}
    assert len(training.arguments) + len(validation.arguments) == ROWS
    for part in (training, validation):
        for one, given in zip(part.arguments, part.labels, strict=True):
            original = DATA.arguments[of[one.premise]]
            assert (one.conclusion, one.stance) == (original.conclusion, original.stance)
            assert (given == DATA.labels[of[one.premise]]).all()
    keys = [{conclusion_key(c) for c in part.conclusions} for part in (training, validation)]
    assert not keys[0] & keys[1]
    assert 4 <= len(validation.arguments) <= 14


def test_a_column_says_the_split_and_rows_without_labels_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = ["train"] * 20 + ["Dev"] * 10 + ["test"] * 10
    table = rows(Split=splits)
    for row in table[1:4]:
        row[3:23] = [""] * 20
    training, validation = load_table_sets(str(write_csv(tmp_path / "my.csv", table)))
    assert [len(part.arguments) for part in (training, validation)] == [17, 10]
    said = capsys.readouterr().err
    assert "3 of 40 rows have no label and are left out" in said
    assert "10 rows of split test are left out" in said


def test_texts_alone_are_split_by_text(tmp_path: Path) -> None:
    table = [["text", *VALUE_SLUGS]]
    table += [[row[0], *row[3:]] for row in rows()[1:]]
    training, validation = load_table_sets(str(write_csv(tmp_path / "my.csv", table, ",")))
    assert {one.conclusion for one in training.arguments} == {""}
    premises = [{one.premise for one in part.arguments} for part in (training, validation)]
    assert not premises[0] & premises[1]


def without(column: str) -> list[list[Any]]:
    place = rows()[0].index(column)
    return [row[:place] + row[place + 1 :] for row in rows()]


def with_cell(column: str, cell: str) -> list[list[Any]]:
    table = rows(split=["train"] * 20 + ["dev"] * 20)
    table[2][table[0].index(column)] = cell
    return table


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (without("Face"), r"my\.csv: no column for 'Face'\. A model learns all 20 values"),
        ([row[:3] for row in rows()], r"my\.csv: no column is called like a value"),
        (with_cell("Face", "perhaps"), r"line 3, column 'Face': 'perhaps' is not a label\. Write"),
        (with_cell("split", "other"), r"column 'split': 'other'; allowed: training, validation"),
        (
            with_cell("Stance", "so-so"),
            r"1 labelled rows hold no argument:\nline 3: unknown",
        ),
        (rows()[:3], r"fewer than 5 different conclusions, too few .* a column 'split'"),
        (rows(split=["train"] * ROWS), r"no row for validation"),
        (without("Conclusion"), r"my\.csv: no column for the conclusion"),
    ],
    ids=["value", "values", "label", "split", "stance", "few", "no validation", "conclusion"],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, table: list[list[Any]], why: str
) -> None:
    with pytest.raises(ValueEvalError, match=why) as caught:
        load_table_sets(str(write_csv(tmp_path / "my.csv", table)))
    assert "--labels" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("mine", r"data: 'mine'; allowed: touche23, sample, or a labelled table \(\.csv"),
        ("touche23+touche23", "names a data set twice"),
        ("sample+my.csv", "sample is for demonstrations"),
    ],
)
def test_other_names_are_refused(data: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        configure("out", data=data)


def test_training_on_both_says_so_in_the_manifest(tmp_path: Path, tiny_bert: Path) -> None:
    data_dir = write_small_data(tmp_path / "data", 20, 10)
    path = write_csv(tmp_path / "my.csv", rows())
    config = small_config(
        tmp_path / "adapter", tiny_bert, data_dir, data=f"touche23+{path}", epochs=1
    )
    training, validation = load_splits(config)
    own = load_table_sets(str(path), split_of_each([load_published("touche23", str(data_dir))]))
    assert training.ids == load_set("training", data_dir).ids + own[0].ids
    assert (validation.labels[10:] == own[1].labels).all()
    manifest = train(config)
    assert manifest.data.name == "touche23+my.csv"
    assert manifest.data.sha256 == f"{load_set('training', data_dir).sha256}+{own[0].sha256}"
    assert manifest.data.size == len(training.arguments)
    assert manifest.config["data"] == "touche23+my.csv"
    card = (Path(config.output) / CARD_FILE).read_text("utf-8")
    assert "| training data | `touche23+my.csv`, training, " in card
    assert str(tmp_path) not in card.replace(str(tiny_bert), "")


def keys_of(*parts: DataSet) -> list[set[str]]:
    return [set(map(conclusion_key, part.groups)) for part in parts]


def test_conclusions_stay_where_the_published_set_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = write_small_data(tmp_path / "data", 40, 40)
    published = load_published("touche23", str(data_dir))
    here = keys_of(*published)
    table = rows()
    # Its first ten rows are about conclusions of validation, the others about those of training.
    for row, one in zip(table[1:11], published[1].arguments, strict=False):
        row[1] = one.conclusion.upper()
    for order in ("touche23+{}", "{}+touche23"):
        path = write_csv(tmp_path / "my.csv", table)
        config = configure("out", data=order.format(path), data_dir=str(data_dir))
        training, validation = load_splits(config)
        assert len(training.ids) + len(validation.ids) == 80 + ROWS
        assert sum(id.startswith("my.csv") for id in validation.ids) >= 10
        both = keys_of(training, validation)
        assert not both[0] & both[1]
        assert [here[0] - both[0], here[1] - both[1]] == [set(), set()]
    assert "in training as well" not in capsys.readouterr().err


def test_conclusions_that_a_column_puts_elsewhere_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = write_small_data(tmp_path / "data", 40, 40)
    path = write_csv(tmp_path / "my.csv", rows(split=["dev"] * ROWS))
    config = configure("out", data=f"touche23+{path}", data_dir=str(data_dir))
    training, validation = load_splits(config)
    both = keys_of(training, validation)
    assert (number := len(both[0] & both[1])) > 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"{number} of the {len(both[1])} conclusions" in said
    assert "--folds 5 --fold 0" in said
    load_splits(changed(config, folds=3, fold=0))
    assert "in training as well" not in capsys.readouterr().err


def test_a_table_alone_needs_no_other_data(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEEVAL_DATA", str(tmp_path / "nothing"))
    path = write_xlsx(tmp_path / "my.xlsx", rows())
    options = {"data": str(path), "base": str(tiny_bert), "epochs": 1, "method": "head"}
    manifest = train(configure(str(tmp_path / "adapter"), **options))
    assert (manifest.data.name, manifest.data.set) == ("my.xlsx", "training")
    assert np.isfinite(manifest.validation["macro_f1"] or 0.0)
