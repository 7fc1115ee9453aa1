"""Prepare trained adapters for publication: ``python -m valueeval.train.publish.release``.

Each adapter is copied to a folder of its own, with its scores on arguments that it has not seen: in
``test_scores.json``, and in its model card for people and the hub. ``--ship`` puts one where the
package finds it (`valueeval.adapters.shipped.finding`), so that `valueeval predict` uses it when no
adapter is named. An adapter that has seen test labels, was trained on the sample set or stands on a
base model that only this machine has is refused; paths of this machine are left out.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from valueeval.adapters.classifier.classifier import Classifier, load_classifier
from valueeval.adapters.directory.base import MINILM
from valueeval.adapters.directory.ensemble import find_members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import (
    CARD_FILE,
    describe_files,
    read_manifest,
    write_manifest,
)
from valueeval.adapters.engines.choose import MEASURED_FILE, load_with_engine
from valueeval.adapters.shipped.finding import NAME as SHIPPED
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.commands.score import make_report
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, file_names, find_data_dir, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUE_SLUGS
from valueeval.train.data.inputs import premises_alone
from valueeval.train.loop.evaluation import TEXT_ALONE_SCORE
from valueeval.train.publish.model_card import NAME

SCORES_FILE = "test_scores.json"
TEST_SETS = ("main", "zhihu", "nahjalbalagha", "nyt")
"""Published sets that no adapter is trained on, unless a person joins them to the training data."""
MOST_SHIPPED_BYTES = 3_000_000
_LEARNT_FROM = {"training", "validation"}
_KEPT = ("macro_f1", "official_f1", "macro_ap")
_BEFORE = "## How to load it"
_DATASET = "webis/Touche23-ValueEval"


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the adapters; return the exit status."""
    options = build_parser().parse_args(argv)
    try:
        for adapter in options.adapters:
            if options.ship:
                made = ship(adapter, options.output / SHIPPED)
            else:
                name = f"{options.org}/{adapter.name}"
                made = prepare(adapter, options.output / adapter.name, name)
            scores = json.loads((made / SCORES_FILE).read_text("utf-8"))
            macro_f1 = scores["main"]["macro_f1"]
            print(f"{made}: macro_f1 {macro_f1:.4f} on the main test set")
    except ValueEvalError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="python -m valueeval.train.publish.release",
        description="Copy adapters with their test scores and model cards, ready for the hub.",
    )
    parser.add_argument("adapters", metavar="ADAPTER", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--org", default="ORG", help="organisation or user on the hub")
    parser.add_argument(
        "--ship", action="store_true", help=f"write OUTPUT/{SHIPPED}, which the package ships"
    )
    parser.add_data_dir()
    return parser


def ship(adapter: Path, folder: Path, data_dir: str | None = None) -> Path:
    """Make an adapter the one that ships with the package, replacing an earlier one.

    Raises:
        ValueEvalError: As `prepare`; or it is too large, or its base model is not `minilm`.
    """
    manifest = read_manifest(adapter)
    size = sum(info.bytes for info in manifest.files.values())
    if manifest.base_model.name != MINILM or size > MOST_SHIPPED_BYTES:
        raise ValueEvalError(
            f"{adapter}: base model {manifest.base_model.name!r}, {size / 1e6:.1f} MB; the package "
            f"ships an adapter on {MINILM!r} of at most {MOST_SHIPPED_BYTES / 1e6:.0f} MB "
            "(--method lora)"
        )
    return prepare(adapter, folder, f"adapters/shipped/{SHIPPED}", data_dir)


def prepare(adapter: Path, folder: Path, name: str, data_dir: str | None = None) -> Path:
    """Copy an adapter, add its scores on test sets, and complete its model card.

    Args:
        adapter: The directory that `valueeval train` wrote.
        folder: The folder to write; an earlier copy there is replaced.
        name: The name that the card loads it by.
        data_dir: Folder of the official files; None looks where `load_set` finds them.

    Returns:
        The folder.

    Raises:
        ValueEvalError: It is no adapter with a head trained on published training data alone, or
            the data are missing.
    """
    manifest = read_manifest(adapter)
    _refuse(adapter, manifest)
    if folder.resolve() == adapter.resolve():
        raise ValueEvalError(f"{adapter}: would be written over itself; name another folder")
    classifier = load_classifier(adapter, "cpu", manifest)
    rounding = loss_by_int8(adapter, data_dir)
    scores = scores_on_test_sets(classifier, data_dir)
    card = completed_card(ModelCard.load(adapter / CARD_FILE), manifest, scores, name)
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for file in manifest.files:
        shutil.copyfile(adapter / file, made / file)
    (made / MEASURED_FILE).write_text(json.dumps(rounding, indent=1) + "\n", "utf-8")
    (made / SCORES_FILE).write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
    (made / CARD_FILE).write_text(card, "utf-8")
    config = {**manifest.config}
    if "teacher" in config:  # a path on this machine says nothing elsewhere
        config["teacher"] = "+".join(Path(one).name for one in config["teacher"].split("+"))
    write_manifest(made, replace(manifest, config=config, files=describe_files(made)))
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    return folder


def loss_by_int8(adapter: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Return macro_f1 on validation in ONNX Runtime, in float32 and in int8.

    `valueeval.adapters.engines.choose.int8_is_as_good` decides by it. A loss counts even if the
    adapter was trained on validation: both readings are of the same arguments.

    Raises:
        ValueEvalError: The adapter cannot be exported, or the extra `onnx` is not installed.
    """
    data, members = load_set("validation", data_dir), find_members(str(adapter))
    measured: dict[str, Any] = {"set": "validation", "sha256": data.sha256}
    for name, engine in (("float32", "onnx"), ("int8", "onnx-int8")):
        classifier, _ = load_with_engine(members, engine)
        prediction = members.manifest.thresholds.decide(classifier.logits(data.arguments))
        measured[name] = round(score(data.labels, prediction)["macro_f1"] or 0.0, 6)
    return measured


def scores_on_test_sets(classifier: Classifier, data_dir: str | None = None) -> dict[str, Any]:
    """Return the scores on every test set that is there, and on the package's sample.

    Returns:
        Set → ``arguments``, ``conclusions``, ``sha256`` of its files, ``macro_f1``, ``official_f1``
        (each with ``_ci_low`` and ``_ci_high``), ``macro_ap``, ``macro_f1_text_alone`` (of its
        premises without conclusions and stances), ``f1_<value>``.
    """
    directory = find_data_dir(data_dir)
    there = [name for name in TEST_SETS if (directory / file_names(name)[0]).is_file()]
    return {name: _scores_on(classifier, load_set(name, data_dir)) for name in (*there, "sample")}


def _scores_on(classifier: Classifier, data: DataSet) -> dict[str, Any]:
    keys = [conclusion_key(conclusion) for conclusion in data.conclusions]
    thresholds = classifier.manifest.thresholds

    def report(of: DataSet) -> dict[str, Any]:
        margins = classifier.logits(of.arguments).astype(float) - thresholds.logits
        return make_report(of.ids, data.labels, margins > 0, keys, scores=margins)

    whole, alone = report(data), report(premises_alone(data))
    numbers = {name: whole[name] for name in _KEPT}
    for metric in ("macro_f1", "official_f1"):
        numbers |= {f"{metric}_{end}": whole[f"{metric}_{end}"] for end in ("ci_low", "ci_high")}
    numbers[TEXT_ALONE_SCORE] = alone["macro_f1"]
    numbers |= {f"f1_{slug}": whole[f"f1_{slug}"] for slug in VALUE_SLUGS}
    return {
        "arguments": len(data.arguments),
        "conclusions": len(set(keys)),
        "sha256": data.sha256,
        **{name: None if one is None else round(one, 6) for name, one in numbers.items()},
    }


def completed_card(
    card: ModelCard, manifest: Manifest, scores: Mapping[str, Any], name: str
) -> str:
    """Return a training's model card with the test scores, for people and for the hub."""
    data = cast(ModelCardData, card.data)
    data.license = "apache-2.0"
    data.model_name = name.rpartition("/")[2]
    data.eval_results = [
        EvalResult(
            task_type="text-classification",
            task_name="Human value detection (multi-label)",
            dataset_type=_DATASET,
            dataset_name="Touché23-ValueEval (main test set)",
            dataset_split="test",
            metric_type="f1" if metric == "macro_f1" else metric,
            metric_name=metric,
            metric_value=scores["main"][metric],
        )
        for metric in ("macro_f1", "official_f1")
    ]
    text = str(card)
    if text.count(_BEFORE) != 1:
        raise ValueEvalError(f"{CARD_FILE}: no heading {_BEFORE!r}, so it is not a card of ours")
    text = text.replace(_BEFORE, f"{_test_section(manifest, scores)}{_BEFORE}")
    return text.replace(NAME, name).rstrip() + "\n"


def _test_section(manifest: Manifest, scores: Mapping[str, Any]) -> str:
    """Return the card's section on test sets."""
    lines = [
        "## On test arguments",
        "",
        f"It was trained on {manifest.data.set.replace('+', ' and ')} of Touché23-ValueEval; no "
        "label of these sets was used for training, epochs or thresholds. Intervals (95 %) are "
        "over conclusions.",
        "",
        "| set | arguments | `macro_f1` | `official_f1` | `macro_f1` of premises alone |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in scores.items():
        if name == "sample":
            continue
        cells = [f"{one['arguments']:,}", _with_interval(one, "macro_f1")]
        cells += [_with_interval(one, "official_f1"), _number(one[TEXT_ALONE_SCORE])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "<details><summary>F1 of each value, main test set</summary>", ""]
    lines += ["| value | F1 |", "| --- | --- |"]
    lines += [f"| `{slug}` | {_number(scores['main'][f'f1_{slug}'])} |" for slug in VALUE_SLUGS]
    lines += ["", "</details>", ""]
    lines += [
        "The training data are published under CC BY 4.0 "
        "([Touché23-ValueEval](https://doi.org/10.5281/zenodo.10564870)); cite the dataset's paper "
        "(below) when you publish what this adapter has labelled.",
        "",
        "",
    ]
    return "\n".join(lines)


def _with_interval(scores: Mapping[str, Any], metric: str) -> str:
    low, high = scores[f"{metric}_ci_low"], scores[f"{metric}_ci_high"]
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    return _number(scores[metric]) + interval


def _number(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"


def _refuse(adapter: Path, manifest: Manifest) -> None:
    """Refuse an adapter that must not be published by the project."""
    if manifest.head is None:
        raise ValueEvalError(f"{adapter}: answers in words; only adapters with a head are released")
    if manifest.data.name != "touche23" or not {*manifest.data.set.split("+")} <= _LEARNT_FROM:
        raise ValueEvalError(
            f"{adapter}: trained on {manifest.data.described}; released are adapters that were "
            "trained on touche23 training, or training+validation, and have seen no test label"
        )
    if Path(manifest.base_model.name).is_absolute():
        raise ValueEvalError(
            f"{adapter}: its base model is the folder {manifest.base_model.name} of this machine; "
            "train it on `minilm` or a hub id"
        )


if __name__ == "__main__":
    raise SystemExit(main())
