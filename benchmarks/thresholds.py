"""Which thresholds hold on new arguments: 0.5, one for all values, one for each, or halfway?

    python benchmarks/thresholds.py runs/fold0 runs/fold1 runs/fold2 runs/fold3 runs/fold4

For each adapter with a head, the four ways of ``valueeval train --thresholds`` choose thresholds on
what its epoch was chosen on (validation, or its fold), and the same logits of the main test set are
scored with each of them. Training is left as it was: its epoch was chosen with the thresholds that
the adapter has. Test labels score; nothing is chosen by them.

Given several adapters it also scores their average (`valueeval.adapters.average`) in each way. With
``--json FILE`` all numbers are written.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from valueeval.adapters.classifier import load_classifier
from valueeval.adapters.manifest import Manifest
from valueeval.tasks.data import DataSet, load_set
from valueeval.tasks.scoring import score
from valueeval.train.choices import ThresholdsName
from valueeval.train.folds import split_by_fold
from valueeval.train.thresholds import choose_thresholds

METRICS = ("macro_f1", "official_f1")
Scores = dict[str, float]
Margins = dict[ThresholdsName, npt.NDArray[np.float64]]
"""Of each way: logits less thresholds as logits, (arguments, 20); predicted above 0."""


def main() -> None:
    """Reads the adapters, prints the table."""
    arguments = _parse()
    test = load_set("main", arguments.data_dir)
    margins = [_margins(folder, test, arguments.data_dir) for folder in arguments.adapters]
    report = {way: _report(way, margins, test) for way in get_args(ThresholdsName)}
    Console().print(_table(report, len(margins)))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _margins(folder: str, test: DataSet, data_dir: str | None) -> Margins:
    """What one adapter says of the test set."""
    classifier = load_classifier(folder)
    tuning = _chosen_on(classifier.manifest, data_dir)
    logits, own = classifier.logits(test.arguments), classifier.logits(tuning.arguments)
    return {
        way: logits - choose_thresholds(way, tuning.labels, own).logits
        for way in get_args(ThresholdsName)
    }


def _chosen_on(manifest: Manifest, data_dir: str | None) -> DataSet:
    """What the adapter's epoch was chosen on."""
    training, validation = (load_set(name, data_dir) for name in ("training", "validation"))
    known = manifest.data.sha256.split("+")
    if known[0] != training.sha256 or len(manifest.data.left_out) > 1:
        raise SystemExit(f"an adapter of {manifest.data.described}: not of the data found here")
    if manifest.data.folds is None:
        return validation
    if not manifest.data.left_out:
        raise SystemExit("an adapter of all folds: nothing is left to choose thresholds on")
    (fold,) = manifest.data.left_out
    return split_by_fold(training, validation, manifest.data.folds, fold)[1]


def _report(way: ThresholdsName, margins: list[Margins], test: DataSet) -> dict[str, list[Scores]]:
    each = [one[way] for one in margins]
    rows = {"each": [_scores(test, one) for one in each]}
    if len(each) > 1:
        rows["average"] = [_scores(test, np.mean(each, axis=0))]
    return rows


def _scores(test: DataSet, margin: npt.NDArray[np.float64]) -> Scores:
    scores = score(test.labels, margin > 0)
    return {name: scores[name] or 0.0 for name in METRICS}


def _table(report: dict[ThresholdsName, dict[str, list[Scores]]], number: int) -> Table:
    table = Table("thresholds", title="Main test set")
    for name in METRICS:
        table.add_column(f"{name}, mean of {number} (range)")
        if number > 1:
            table.add_column(f"{name}, their average")
    for way, rows in report.items():
        cells = []
        for name in METRICS:
            found = [scores[name] for scores in rows["each"]]
            cells.append(f"{statistics.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})")
            cells += [f"{scores[name]:.3f}" for scores in rows.get("average", [])]
        table.add_row(way, *cells)
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("adapters", nargs="+", metavar="ADAPTER", help="adapter directories")
    parser.add_argument("--data-dir", help="folder of the official files")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
