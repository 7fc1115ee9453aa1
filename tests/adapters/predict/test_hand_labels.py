"""Hand labels: which columns hold them, what counts as yes, and the agreement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from valueeval.adapters.predict.hand_labels import Agreement, LabelColumns
from valueeval.adapters.tables.rows import Record
from valueeval.tasks.commands.score import make_report
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS


def labels_of(columns: LabelColumns, *cells: Any) -> list[str] | None:
    names = [column for column in columns.columns if column is not None]
    labels = columns.of(Record("line 2", dict(zip(names, cells, strict=True))), "t.csv")
    if labels is None:
        return None
    return [slug for slug, label in zip(VALUE_SLUGS, labels, strict=True) if label]


def test_columns_by_name_or_slug() -> None:
    columns = LabelColumns.found_in(["id", "SECURITY: PERSONAL", "hedonism", "Tradition "], "t.csv")
    found = [column for column in columns.columns if column is not None]
    assert found == ["hedonism", "SECURITY: PERSONAL", "Tradition "]
    assert columns.present.sum() == 3
    for names in (VALUE_NAMES, VALUE_SLUGS):
        assert LabelColumns.found_in(names, "t.csv").columns == tuple(names)
    with pytest.raises(ValueEvalError, match=r"t\.csv: --labels: no column is called like a value"):
        LabelColumns.found_in(["id", "text"], "t.csv")
    with pytest.raises(ValueEvalError, match=r"two columns for one value, 'Face' and 'face'\. Rem"):
        LabelColumns.found_in(["Face", "face"], "t.csv")


def test_yes_and_no() -> None:
    columns = LabelColumns.found_in(["hedonism", "face", "tradition"], "t.csv")
    assert labels_of(columns, "1", "0", "") == ["hedonism"]
    assert labels_of(columns, 1.0, 0, True) == ["hedonism", "tradition"]
    assert labels_of(columns, "X", "no", None) == ["hedonism"]
    assert labels_of(columns, "0", "", None) == []
    assert labels_of(columns, "", None, " ") is None
    with pytest.raises(ValueEvalError, match=r"t\.csv, line 2, column 'face': '2' is not a label"):
        labels_of(columns, "1", "2", "0")


def test_agreement_is_the_one_implementation_of_the_scores() -> None:
    """Values without a column do not count, whatever the model says about them."""
    rng = np.random.default_rng(0)
    columns = LabelColumns.found_in(VALUE_SLUGS[:5], "t.csv")
    agreement = Agreement(columns)
    truth, decided = rng.random((60, 20)) < 0.4, rng.random((60, 20)) < 0.4
    truth[:, 5:] = False
    conclusions = [f"c{n % 15}" for n in range(60)]
    for n in range(60):
        agreement.add(Argument("", conclusions[n], "against", "p"), truth[n], decided[n])
    decided[:, 5:] = False
    keys = [conclusion_key(conclusion) for conclusion in conclusions]
    expected = make_report([str(n) for n in range(60)], truth, decided, keys)
    assert agreement.report() == expected
    (line,) = agreement.lines()
    assert line.startswith(
        f"Agreement with the hand labels of 60 rows: macro F1 {expected['macro_f1']:.2f} "
        f"(95 % interval {expected['macro_f1_ci_low']:.2f} to {expected['macro_f1_ci_high']:.2f}, "
        "over 15 conclusions), the mean of the 5 values that occur."
    )


def test_agreement_by_hand() -> None:
    columns = LabelColumns.found_in(["hedonism", "face"], "t.csv")
    agreement = Agreement(columns)
    assert "No row has hand labels" in agreement.lines()[0]
    hedonism, face = VALUE_SLUGS.index("hedonism"), VALUE_SLUGS.index("face")
    for labelled, said in ((hedonism, hedonism), (hedonism, face), (face, face)):
        truth, decided = np.zeros(20, dtype=bool), np.zeros(20, dtype=bool)
        truth[labelled] = decided[said] = True
        agreement.add(Argument("", "", "", "text"), truth, decided)
    # hedonism: 1 hit of 2, precision 1; face: 1 hit of 1, precision 1/2. F1 2/3 each.
    assert "macro F1 0.67 (no interval: 3 rows are too few)" in agreement.lines()[0]
    assert agreement.report()["interval"]["over"] == "arguments"


def test_labels_without_a_single_one() -> None:
    agreement = Agreement(LabelColumns.found_in(["face"], "t.csv"))
    agreement.add(Argument("", "", "", "t"), np.zeros(20, dtype=bool), np.ones(20, dtype=bool))
    assert agreement.lines() == ["No row has a hand label 1, so there are no scores."]
