"""Scores as people use them in Python: ``valueeval.score(truth, prediction)``."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from valueeval.tasks.commands.score import make_report
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import PREDICTED, VALUE_NAMES, VALUE_SLUGS, VALUES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scores:
    """Scores of one system; shows itself as a table in Jupyter.

    Attributes:
        report: Everything, as ``valueeval score --json`` prints it (see
            `valueeval.tasks.commands.score.make_report`).
        title: What was scored.
    """

    report: dict[str, Any]
    title: str = ""

    def __getitem__(self, metric: str) -> Any:
        """Return one score: ``scores["macro_f1"]``; ``None`` where it is not defined."""
        return self.report[metric]

    @property
    def macro_f1(self) -> float | None:
        """Return the mean of the per-value F1, which systems are ranked by."""
        score: float | None = self.report["macro_f1"]
        return score

    @property
    def official_f1(self) -> float | None:
        """Return the shared task's score."""
        score: float | None = self.report["official_f1"]
        return score

    def to_pandas(self) -> pd.DataFrame:
        """Return precision, recall, F1, support and number predicted of each value."""
        import pandas as pd

        per_value = self.report["per_value"]
        table = pd.DataFrame([per_value[value.slug] for value in VALUES])
        table.insert(0, "value", [value.name for value in VALUES])
        return table

    def __str__(self) -> str:
        return "\n".join([*self._head, *(": ".join(row) for row in self._rows)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        head = "".join(f"<p>{html.escape(line)}</p>" for line in self._head)
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
            for name, text in self._rows
        )
        return f"{head}<table>{rows}</table>{self.to_pandas().to_html(index=False, na_rep='')}"

    @property
    def _head(self) -> list[str]:
        over = self.report["interval"]
        number = f"{self.report['n']} arguments, intervals over {over['units']} {over['over']}"
        if (values := self.report["values"]) < len(VALUES):
            number += f", means over {values} values"
        return [f"{self.title}: {number}" if self.title else number]

    @property
    def _rows(self) -> list[tuple[str, str]]:
        names = ("macro_f1", "official_f1", "macro_ap", "micro_f1", "macro_precision",
                 "macro_recall", "subset_accuracy")  # fmt: skip
        rows = []
        for name in names:
            score = self.report[name]
            low, high = (self.report.get(f"{name}_ci_{end}") for end in ("low", "high"))
            interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
            if score is not None:
                rows.append((name, f"{score:.3f}{interval}"))
        return rows


def score(
    references: Any,
    predictions: Any,
    *,
    scores: Any = None,
    conclusions: Sequence[str] | None = None,
    title: str = "",
) -> Scores:
    """Score predictions against labels, with 95 % intervals.

    Args:
        references: The labels, (n, 20), bool or 0/1; or a DataFrame with a column for each value,
            by its name or slug.
        predictions: What was predicted, likewise. Columns ``predicted_…`` are read where there are
            any: a table labelled with ``prefix="predicted_"`` has them beside its own labels.
        scores: (n, 20), higher where a value is likelier, for ``macro_ap``.
        conclusions: The n conclusions: intervals are then over them, since arguments that share one
            are not independent; an empty one is shared with nobody. Without, intervals are over
            single arguments.
        title: What is scored, for display.

    Raises:
        ValueEvalError: Shapes differ, rows are in another order by their index, a column is missing
            or there twice, a conclusion is no text, a score no finite number, or a label neither 0
            nor 1.
    """
    others = {"predictions": predictions, "scores": scores, "conclusions": conclusions}
    for name, given in others.items():
        _refuse_other_order(references, given, name)
    truth = _labels(references, "references")
    decided = _labels(_predicted(predictions), "predictions")
    if truth.shape != decided.shape:
        raise ValueEvalError(
            f"references have {len(truth)} rows, predictions {len(decided)}: they must be the same "
            "arguments in the same order."
        )
    keys = None
    if conclusions is not None:
        if len(conclusions) != len(truth):
            raise ValueEvalError(f"conclusions: {len(conclusions)} for {len(truth)} arguments.")
        if not all(isinstance(conclusion, str) for conclusion in conclusions):
            raise ValueEvalError("conclusions: some are no text; drop these rows.")
        keys = [
            conclusion_key(conclusion) if conclusion.strip() else f"no conclusion, row {row}"
            for row, conclusion in enumerate(conclusions)
        ]
    numbers = None if scores is None else _numbers(scores, truth.shape)
    ids = [str(number) for number in range(len(truth))]
    return Scores(make_report(ids, truth, decided, keys, scores=numbers), title)


def _refuse_other_order(references: Any, given: Any, name: str) -> None:
    """Refuse tables of pandas whose rows are the same by their labels, in another order."""
    ours: Any = getattr(references, "index", None)
    theirs: Any = getattr(given, "index", None)
    if any(index is None or callable(index) for index in (ours, theirs)):  # lists have a method
        return
    same_rows = len(ours) == len(theirs) and ours.is_unique and set(ours) == set(theirs)
    # Not by `==` of pandas, for which a missing label differs from itself.
    if same_rows and list(ours) != list(theirs):
        raise ValueEvalError(
            f"{name}: the rows of references in another order, by their index. Give "
            f"{name}.loc[references.index], or {name}.to_numpy() if the order is right."
        )


def _predicted(given: Any) -> Any:
    """Return the columns ``predicted_…`` of a DataFrame by their names without it, if any."""
    if not hasattr(given, "columns"):
        return given
    names = {PREDICTED + slug: slug for slug in VALUE_SLUGS}
    there = [column for column in given.columns if str(column) in names]
    return given[there].rename(columns=names) if there else given


def _numbers(given: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueEvalError(f"scores: not numbers ({error}).") from error
    if numbers.shape != shape:
        raise ValueEvalError(f"scores: shape {numbers.shape} instead of {shape}.")
    if not np.isfinite(numbers).all():
        raise ValueEvalError("scores: some are missing or infinite; drop these rows.")
    return numbers


def _labels(given: Any, name: str) -> npt.NDArray[np.bool_]:
    """Return labels as (n, 20) bool."""
    if hasattr(given, "columns"):
        given = _cells(given, name)
    array = np.asarray(given)
    if array.ndim != 2 or array.shape[1] != len(VALUE_NAMES):
        raise ValueEvalError(f"{name}: shape (arguments, 20) expected, got {array.shape}.")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueEvalError(f"{name}: only 0 and 1 are allowed.")
    return array.astype(np.bool_)


def _cells(frame: pd.DataFrame, name: str) -> npt.NDArray[Any]:
    """Return the columns of the values, (n, 20)."""
    import pandas as pd

    columns = []
    for value, slug in zip(VALUE_NAMES, VALUE_SLUGS, strict=True):
        there = [column for column in frame.columns if str(column) in (value, slug)]
        if not there:
            raise ValueEvalError(f"{name}: no column {value!r} or {slug!r}.")
        if len(there) > 1:
            raise ValueEvalError(
                f"{name}: two columns for one value, {there[0]!r} and {there[1]!r}. Remove those "
                f"that are not meant, or label with predict(…, prefix={PREDICTED!r})."
            )
        columns.append(frame[there[0]].to_numpy(dtype=object))
    cells = np.stack(columns, axis=1)
    if pd.isna(cells).any():
        raise ValueEvalError(f"{name}: some labels are missing; drop these rows.")
    try:
        return cells.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueEvalError(f"{name}: only 0 and 1 are allowed.") from None
