"""Adapters averaged from their results: as if they had been run together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import task_manager
from leaderboard_results import documents, likely, write_results
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from tiny_adapters import make_manifest, write_adapter

from valueeval.adapters.directory.manifest import TrainingData
from valueeval.average.cli import main
from valueeval.leaderboard.commands.archive import archive
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import Predictions, read_checked
from valueeval.leaderboard.reading.results_files import load_content, read_results
from valueeval.tasks.errors import ValueEvalError

DOCS = documents()
TASK = "valueeval_cls_sample"


def scored(folder: Path, seed: int, manifest: dict[str, Any] | None = None, **options: Any) -> Path:
    """Write made-up results of an adapter, whose scores depend on the seed."""
    adapter = make_manifest({}, seed=seed, weights_sha256=f"{seed:064x}").to_json()
    given = {"scores": likely(DOCS, 1.0, seed), "kind": "valueeval", "model": folder.name,
             "model_args": {"adapter": folder.name}, "docs": DOCS}  # fmt: skip
    return write_results(folder, adapter=manifest or adapter, **{**given, **options})


def read(folder: Path) -> Predictions:
    (only,), problems = read_results(find_results([folder]))
    assert not problems
    return read_checked(only)  # the samples give the scores of the results


def test_means_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 and -3 are no, 3 and -1 yes; 2 and -2 are 0, which is not above 0."""
    flat = np.full((len(DOCS), 20), -1.0)
    for name, first in (("a", [1.0, 3.0, 2.0]), ("b", [-3.0, -1.0, -2.0])):
        scores = flat.copy()
        scores[0, :3] = first
        scored(tmp_path / name, ord(name), scores=scores)
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out")]) == 0
    found = read(tmp_path / "out")
    row = found.ids.index(DOCS[0]["id"])
    assert found.scores is not None
    assert found.scores[row, :4].tolist() == [-1.0, 1.0, 0.0, -1.0]
    assert found.prediction[row, :4].tolist() == [False, True, False, False]
    assert "valueeval_cls: macro_f1 0.0" in capsys.readouterr().out


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    return [write_adapter(runs / name, tiny_bert, seed) for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def results(adapters: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of each adapter, and of the three that were run together."""
    folder = tmp_path_factory.mktemp("results")
    together = "+".join(map(str, adapters))
    for name, adapter in zip("abcd", [*map(str, adapters), together], strict=True):
        tracker = EvaluationTracker(output_path=str(folder / name))
        found = simple_evaluate(
            model="valueeval", model_args={"adapter": adapter, "device": "cpu"}, batch_size=8,
            tasks=[TASK], task_manager=task_manager(), evaluation_tracker=tracker,
        )  # fmt: skip
        assert found is not None
        samples = found.pop("samples")[TASK]
        tracker.save_results_aggregated(found, {TASK: samples})
        tracker.save_results_samples(TASK, samples)
    return folder


def places(results: Path) -> list[str]:
    return [str(results / name) for name in "abc"]


def test_as_run_together(results: Path, tmp_path: Path) -> None:
    main([*places(results), "-o", str(tmp_path)])
    ours, theirs = read(tmp_path), read(results / "d")
    assert ours.same_arguments(theirs)
    assert ours.scores is not None
    assert theirs.scores is not None
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    assert (ours.prediction == theirs.prediction).all()
    assert len(np.unique(ours.prediction.sum(0))) > 1  # values differ in how often they are there
    one, other = (
        load_content(find_results([folder])[0].path) for folder in (tmp_path, results / "d")
    )
    assert one["config"]["valueeval"] == other["config"]["valueeval"]
    assert one["model_name"] == other["model_name"]
    told = {name: value for name, value in other["results"][TASK].items()
            if isinstance(value, float)}  # fmt: skip
    assert len(told) > 30
    for name, value in told.items():
        assert one["results"][TASK].get(name, value) == pytest.approx(value)


def test_from_archives(results: Path, tmp_path: Path) -> None:
    """An archive has no weights and rounds scores to 16 bits; its average is as good."""
    for name in "abc":
        archive([results / name], tmp_path / "archived" / name)
    main([*places(tmp_path / "archived"), "-o", str(tmp_path / "out")])
    ours, theirs = read(tmp_path / "out"), read(results / "d")
    assert ours.scores is not None
    assert theirs.scores is not None
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-2)
    sure = np.abs(theirs.scores) > 1e-2
    assert sure.mean() > 0.9
    assert (ours.prediction == theirs.prediction)[sure].all()
    assert archive([tmp_path / "out"], tmp_path / "again") == (1, [])


def test_several_tasks(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        scored(tmp_path / name, seed)
        scored(tmp_path / name, seed, dataset="zhihu", scores=likely(DOCS, 0.1), day=3 - seed)
    words = [str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    runs, problems = read_results(find_results([tmp_path / "out"]))
    assert not problems
    assert [each.dataset for each in runs] == ["main", "zhihu"]
    assert {each.members for each in runs} == {2}
    main_set, zhihu = (read_checked(each).prediction for each in runs)
    assert (main_set != zhihu).any()
    assert main([*words[:3], str(tmp_path / "one"), "--tasks", "valueeval_cls_zhihu"]) == 0
    (only,), _ = read_results(find_results([tmp_path / "one"]))
    assert only.dataset == "zhihu"


def refused(given: Sequence[Path], output: Path, message: str, *more: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        main([*map(str, given), "-o", str(output), *more])
    assert not output.exists()


def test_what_cannot_be_averaged(tmp_path: Path) -> None:
    """Nothing is written, and the line says which results and why."""
    a, b, out = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1), tmp_path / "out"
    refused([a], out, "two adapters or more are needed, and there are those of .*a/.* alone")
    refused([a, b], out, "valueeval_bca: .* and there are none", "--tasks", "valueeval_bca")
    copied = scored(tmp_path / "copy", 1)
    refused([a, b, copied], out, "b/.* and .*copy/.*: results of the same adapter")
    zhihu = scored(tmp_path / "zhihu", 0, dataset="zhihu")
    refused([a, b, zhihu], out, "valueeval_cls_zhihu: .*alone; --tasks names")
    zhihu2 = scored(tmp_path / "zhihu2", 2, dataset="zhihu")
    refused([a, b, zhihu, zhihu2], out, "valueeval_cls and .*zhihu: results of different adapters")
    other = scored(tmp_path / "data", 3, sha="e" * 64)
    refused([a, other], out, "a/.* and .*data/.*: data_sha256 of valueeval_cls differs")
    newer = scored(tmp_path / "newer", 3, version=2.0)
    refused([a, newer], out, "version of valueeval_cls differs")
    part = scored(tmp_path / "part", 3, docs=DOCS[:20], scores=likely(DOCS[:20], 1.0), limit=20)
    refused([a, part], out, "part/.*: not on the same arguments")
    unscored = scored(tmp_path / "unscored", 3, scores=None)
    refused([a, unscored], out, "unscored/.*: its samples hold no scores")
    bare = scored(tmp_path / "bare", 3, samples=False)
    refused([a, bare], out, "bare/.*: no samples beside the results")
    prompted = write_results(tmp_path / "prompted", docs=DOCS, scores=likely(DOCS, 1.0))
    refused([a, prompted], out, "prompted/.*: not of an adapter")
    broken = scored(tmp_path / "broken", 3)
    broken.write_text("{", encoding="utf-8")
    refused([a, b, broken], out, "broken/.*: not valid JSON")


def test_adapters_that_do_not_go_together(tmp_path: Path) -> None:
    out, manifest = tmp_path / "out", make_manifest({}, weights_sha256="f" * 64)
    a = scored(tmp_path / "a", 0)
    other = replace(manifest, data=TrainingData("mine", "training", 9, "1" * 64)).to_json()
    refused([a, scored(tmp_path / "b", 1, other)], out, "a and b were trained on different data")
    words = replace(manifest, template="bca", head=None, input=None).to_json()
    refused([a, scored(tmp_path / "c", 1, words)], out, "c: template 'bca' answers in words")
    odd = {**manifest.to_json(), "labels": ["freedom"]}
    refused([a, scored(tmp_path / "d", 1, odd)], out, "d/.*: labels: not the 20 value categories")


def test_folds_of_cross_validation_are_joined(tmp_path: Path) -> None:
    given = [scored(tmp_path / name, ord(name), dataset="cv") for name in "ab"]
    refused(given, tmp_path / "out", "`valueeval join` joins folds")


def test_calibrated_scores_are_refused(tmp_path: Path) -> None:
    def calibrate(content: dict[str, Any]) -> None:
        content["config"]["calibration"] = {"method": "offsets"}

    given = [scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, change=calibrate)]
    refused(given, tmp_path / "out", "b/.*: is calibrated")


def test_samples_hold_no_prompt(tmp_path: Path) -> None:
    given = [scored(tmp_path / name, ord(name)) for name in "ab"]
    main([*map(str, given), "-o", str(tmp_path / "out")])
    (path,) = (tmp_path / "out").rglob("samples_*.jsonl")
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert set(first["doc"]) == {"id", "premise", "conclusion", "labels"}
    assert "arguments" not in first
