"""Which thresholds hold on new arguments: 0.5, one for all values, one for each, or between?

    python benchmarks/thresholds.py runs/fold0 runs/fold1 runs/fold2 runs/fold3 runs/fold4

For each adapter with a head, the four ways of ``valueeval train --thresholds`` choose thresholds on
what its epoch was chosen on (validation, or its fold), and the same logits of the main test set are
scored with each of them. Training is left as it was: its epoch was chosen with the thresholds that
the adapter has. Test labels score; nothing is chosen by them.

Given several adapters it also scores their average (`valueeval.adapters.classifier.ensemble`) in
each way. With
``--json FILE`` all numbers are written. With ``--write FOLDER`` the adapters are written there with
the thresholds of each way but their own (``FOLDER/global-fold0`` …), to be evaluated by lm_eval and
compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest import Manifest, Thresholds
from valueeval.adapters.directory.manifest_file import CARD_FILE, write_manifest
from valueeval.tasks.data.dataset import DataSet, joined, load_set
from valueeval.tasks.data.folds import split_by_fold
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import ThresholdsName
from valueeval.train.loop.thresholds import choose_thresholds

METRICS = ("macro_f1", "official_f1")
Scores = dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """An adapter with thresholds chosen in each way.

    Attributes:
        folder: Where it is.
        manifest: With the thresholds that it has.
        thresholds: The thresholds of each way.
        chosen_at: The scores with them where they were chosen.
        margins: On test, of each way: logits less thresholds as logits, (arguments, 20); predicted
            above 0.
    """

    folder: Path
    manifest: Manifest
    thresholds: Mapping[ThresholdsName, Thresholds]
    chosen_at: Mapping[ThresholdsName, Mapping[str, float | None]]
    margins: Mapping[ThresholdsName, npt.NDArray[np.float64]]


def main() -> None:
    """Reads the adapters, prints the table."""
    arguments = _parse()
    test = load_set("main", arguments.data_dir)
    adapters = [_tuned(Path(folder), test, arguments.data_dir) for folder in arguments.adapters]
    report = {way: _report(way, adapters, test) for way in get_args(ThresholdsName)}
    Console().print(_table(report, len(adapters)))
    if arguments.write:
        for adapter in adapters:
            _write(adapter, arguments.write)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _tuned(folder: Path, test: DataSet, data_dir: str | None) -> Tuned:
    """Chooses thresholds for one adapter, and reads the test set with it."""
    classifier = load_classifier(folder)
    manifest = classifier.manifest
    tuning = _chosen_on(manifest, data_dir)
    logits, own = classifier.logits(test.arguments), classifier.logits(tuning.arguments)
    chosen = {
        way: choose_thresholds(way, tuning.labels, own, manifest.thresholds.split)
        for way in get_args(ThresholdsName)
    }
    return Tuned(
        folder,
        manifest,
        chosen,
        {way: score(tuning.labels, one.decide(own)) for way, one in chosen.items()},
        {way: logits - one.logits for way, one in chosen.items()},
    )


def _write(adapter: Tuned, destination: Path) -> None:
    """Copies the adapter for each way but its own; not its model card, which tells other scores."""
    for way, thresholds in adapter.thresholds.items():
        if way == adapter.manifest.config["thresholds"]:
            continue
        copy = destination / f"{way}-{adapter.folder.name}"
        shutil.copytree(adapter.folder, copy, ignore=shutil.ignore_patterns(CARD_FILE))
        config = {**adapter.manifest.config, "thresholds": way}
        changed = {"thresholds": thresholds, "validation": adapter.chosen_at[way]}
        write_manifest(copy, replace(adapter.manifest, config=config, **changed))


def _chosen_on(manifest: Manifest, data_dir: str | None) -> DataSet:
    """Return the data that the adapter's epoch was chosen on."""
    training, validation = (load_set(name, data_dir) for name in ("training", "validation"))
    known = manifest.data.sha256.split("+")
    if known[0] != training.sha256 or len(manifest.data.left_out) > 1:
        raise SystemExit(f"an adapter of {manifest.data.described}: not of the data found here")
    if manifest.data.folds is None:
        return validation
    if not manifest.data.left_out:
        raise SystemExit("an adapter of all folds: nothing is left to choose thresholds on")
    (fold,) = manifest.data.left_out
    return split_by_fold(joined(training, validation), manifest.data.folds, fold)[1]


def _report(way: ThresholdsName, adapters: list[Tuned], test: DataSet) -> dict[str, list[Scores]]:
    each = [one.margins[way] for one in adapters]
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
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the adapters anew")
    return parser.parse_args()


if __name__ == "__main__":
    main()
