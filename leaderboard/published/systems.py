"""Published systems, as data: `published.csv` and `published-per-value.csv`, each row sourced.

`official_f1` and `macro_f1` are different measures and stay in their own columns. A number whose
paper does not make clear which of the two it is (metric `unclear_f1`) is shown in neither.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from valueeval.tasks.values import VALUE_NAMES

ORACLE = "Best per category"
UPPER_REFERENCE = "upper reference"
# System in the table of values -> system in the table of scores.
_SAME_SYSTEM = {
    "BERT": "BERT",
    "1-Baseline": "1-Baseline",
    "Best approach (Adam Smith 2023-01-27-18-10-45)": "Adam Smith",
    ORACLE: "Best per category (oracle over runs)",
}
_MEAN_NOTE = "macro_f1: mean of the 20 published F1 per value, computed here"


@dataclass(frozen=True)
class Published:
    """One published system on one set; what nobody saw is ``None``.

    Attributes:
        system: Its name (for teams of the shared task, their code name).
        kind: ``baseline``, ``shared-task`` or ``paper``; ``computed`` for a line that is worked out
            from the labels of the set.
        method: As far as its authors say.
        base: Base model.
        parameters: Parameters in all.
        trainable: Parameters that were trained; 0 if nothing was.
        dataset: Set that it was tested on; if the source does not say, ``main`` with the score in
            `other`.
        macro_f1: Mean of the per-value F1.
        official_f1: The shared task's score.
        other: Another or an unclear score, with its name, for display only.
        per_value: F1 per value, in the order of ``VALUES``; empty if not published.
        source: Where the numbers stand.
        note: What to know about them.
    """

    system: str
    kind: str
    method: str
    base: str
    parameters: int | None
    trainable: int | None
    dataset: str
    macro_f1: float | None
    official_f1: float | None
    other: str
    per_value: tuple[float, ...]
    source: str
    note: str

    @property
    def oracle(self) -> bool:
        """Return True for the best of many systems per value, chosen on the test set."""
        return self.system.startswith(ORACLE)

    @property
    def shown_method(self) -> str:
        """The text in the column of methods."""
        return UPPER_REFERENCE if self.oracle else self.method


@cache
def published() -> tuple[Published, ...]:
    """Return every published system, in the order of the data file."""
    per_value = _per_value()
    return tuple(_read(row, per_value) for row in _rows("published.csv"))


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _per_value() -> dict[str, tuple[float, ...]]:
    return {
        _SAME_SYSTEM[row["system"]]: tuple(float(row[name]) for name in VALUE_NAMES)
        for row in _rows("published-per-value.csv")
    }


def _read(row: dict[str, str], all_per_value: dict[str, tuple[float, ...]]) -> Published:
    metric, value = row["metric"], float(row["value"])
    # The per-value table is of the main set and of the best run, the row with an official F1.
    listed = row["test_set"] == "main" and metric == "official_f1"
    per_value = all_per_value.get(row["system"], ()) if listed else ()
    stated = bool(row["test_set"])
    macro = value if metric == "macro_f1" and stated else None
    note = row["note"]
    if per_value:
        macro = round(sum(per_value) / len(per_value), 3)
        note = f"{note}; {_MEAN_NOTE}"
    return Published(
        system=row["system"],
        kind=row["kind"],
        method=row["method"],
        base=row["base_model"],
        parameters=int(row["parameters"]) if row["parameters"] else None,
        trainable=int(row["trainable_parameters"]) if row["trainable_parameters"] else None,
        dataset=row["test_set"] or "main",
        macro_f1=macro,
        official_f1=value if metric == "official_f1" and stated else None,
        other=_other(metric, row["value"], stated),
        per_value=per_value,
        source=row["source"],
        note=note,
    )


def _other(metric: str, value: str, stated: bool) -> str:
    if not stated:
        return f"{value} ({metric}, test set not stated)"
    if metric == "unclear_f1":
        return f"{value} (macro or official F1: unclear)"
    return "" if metric in ("macro_f1", "official_f1") else f"{value} ({metric})"
