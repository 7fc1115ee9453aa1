"""Results without the texts of the data: what a leaderboard makes of them stays the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_results import likely, manifest, predictions, write_results
from safetensors.numpy import save

from valueeval.leaderboard.commands.archive import archive, main
from valueeval.leaderboard.formats.to_json import render
from valueeval.leaderboard.inference.analysis import analyse
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import SamplesError, read_checked
from valueeval.leaderboard.reading.results_files import read_results
from valueeval.leaderboard.table.collate import collate
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.runfile import read_run, write_run

DATA = load_set("sample")
DOCS: list[dict[str, Any]] = [
    {"id": id, "conclusion": conclusion, "stance": "against", "premise": argument.premise,
     "labels": labels.astype(int).tolist()}
    for id, conclusion, argument, labels
    in zip(DATA.ids, DATA.conclusions, DATA.arguments, DATA.labels, strict=True)
]  # fmt: skip


def write(folder: Path, skill: float = 0.6, seed: int = 0, **options: Any) -> Path:
    given = {"docs": DOCS, "dataset": "sample", "sha": DATA.sha256, "sample": True,
             "official": False, "prediction": predictions(DOCS, skill, seed)}  # fmt: skip
    return write_results(folder, **{**given, **options})


def rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Rows of the leaderboard, but for published systems and for where its files lie."""
    table = analyse(collate(*read_results(find_results([folder]))))
    return [
        {key: value for key, value in row.items() if key != "results"}
        for row in json.loads(render(table))["rows"]
        if row["status"] != "published"
    ]


def all_text(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_run_on_a_part_of_the_set(tmp_path: Path) -> None:
    write(tmp_path / "here", docs=DOCS[3:9], prediction=predictions(DOCS[3:9], 0.6), limit=6)
    assert archive([tmp_path / "here"], tmp_path / "there") == (1, [])
    (run,), _ = read_results(find_results([tmp_path / "there"]))
    assert sorted(read_checked(run).ids) == sorted(doc["id"] for doc in DOCS[3:9])


def test_a_leaderboard_of_the_archive_is_that_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):
        write(tmp_path / "here" / f"m-s{seed}", seed=seed, model=f"m-s{seed}", kind="valueeval",
              adapter=manifest(seed=seed), model_args={"adapter": f"runs/m-s{seed}"})  # fmt: skip
    write(tmp_path / "here" / "gpt2", skill=0.2, template="bca", model="gpt2", day=2)
    assert archive([tmp_path / "here"], tmp_path / "there" / "here") == (3, [])
    before, after = (rows(tmp_path / name, monkeypatch) for name in ("here", "there/here"))
    assert after == before
    assert [row["status"] for row in after] == ["sample", "sample", "computed"]
    assert {row["interval_from"] for row in after[:2]} == {"samples"}


def test_an_archive_has_predictions_but_no_text_of_the_data(tmp_path: Path) -> None:
    prediction = predictions(DOCS, 0.6)
    write(tmp_path / "results", prediction=prediction)
    archive([tmp_path / "results"], tmp_path / "archive")
    (run,) = (tmp_path / "archive").rglob("*.tsv")
    assert run.name.startswith("samples_valueeval_cls_sample_2026-11-01")
    assert (read_run(run).aligned(DATA.ids, "the sample set") == prediction).all()
    text = all_text(tmp_path / "archive")
    assert not [doc["id"] for doc in DOCS if doc["premise"] in text or doc["conclusion"] in text]


def test_folders_and_the_environment_stay_at_home(tmp_path: Path) -> None:
    def environment(content: dict[str, Any]) -> None:
        content["pretty_env_info"] = "Hostname: secret-host"
        content["git_hash"] = "secret-hash"
        content["configs"]["valueeval_cls_sample"]["metadata"]["config_source"] = "/secret/cls.yaml"

    trained = manifest(
        base_model={"name": "/secret/models/base", "revision": None, "sha256": "a" * 64},
        config={"members": [{"adapter": "/secret/runs/a"}], "teacher": "/secret/x+~/secret/y"},
    )
    folders = {"pretrained": "org/name", "adapter": "~/secret/runs/a+C:\\secret\\b"}
    write(tmp_path / "results", change=environment, model="/secret/runs/a+/secret/runs/b",
          model_args=folders, adapter=trained)  # fmt: skip
    archive([tmp_path / "results"], tmp_path / "archive")
    assert "secret" not in all_text(tmp_path / "archive")
    (path,) = (tmp_path / "archive").rglob("results*.json")
    content = json.loads(path.read_text())
    assert content["config"]["model_args"] == {"pretrained": "org/name", "adapter": "a+b"}
    assert content["model_name"] == "a+b"
    assert content["config"]["valueeval"]["base_model"]["name"] == "base"
    assert content["config"]["valueeval"]["config"] == {
        "members": [{"adapter": "a"}],
        "teacher": "x+y",
    }


def test_an_archive_of_an_archive_is_the_same_and_adds_to_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "results")
    archive([tmp_path / "results"], tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "mine.txt").write_text("mine")
    archive([tmp_path / "one"], tmp_path / "two")
    archive([tmp_path / "one"], tmp_path / "two")
    names = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")}
    assert len(names) == 2
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        for name in names
    )
    assert (tmp_path / "two" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["..", "../../etc", "a" * 500, "ü" * 200, "", '<b>"|?*', "…/ü", "\ud800", "a\0b"]
)
def test_any_name_of_a_model_is_a_folder_below(tmp_path: Path, name: str) -> None:
    write(tmp_path / "results", model=name)
    assert archive([tmp_path / "results"], tmp_path / "archive") == (1, [])
    (run,) = (tmp_path / "archive").rglob("*.tsv")
    assert run.parent.parent == tmp_path / "archive"


def test_long_names_that_begin_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    for end in "bc":
        write(tmp_path / "results" / end, model="a" * 300 + end)
    assert archive([tmp_path / "results"], tmp_path / "archive") == (2, [])
    assert len(list((tmp_path / "archive").iterdir())) == 2


def test_checkpoints_of_one_name_stay_two_systems(tmp_path: Path) -> None:
    for run, skill in (("a", 0.3), ("b", 0.9)):
        model = f"/home/me/runs-{run}/final"
        write(
            tmp_path / "here" / run, skill=skill, model=model, model_args=f"pretrained={model},x=1"
        )
    assert archive([tmp_path / "here"], tmp_path / "there") == (2, [])
    runs, _ = read_results(find_results([tmp_path / "there"]))
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
        "runs-a__final",
        "runs-b__final",
    ]
    assert len({run.system for run in runs}) == 2
    assert "/home/me" not in all_text(tmp_path / "there")


def test_what_cannot_be_archived_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "results" / "without", samples=False)
    write(tmp_path / "results" / "altered", metrics={"macro_f1": 0.99})
    write(tmp_path / "results" / "good")
    assert main([str(tmp_path / "results"), "-o", str(tmp_path / "archive")]) == 1
    told = capsys.readouterr().err
    assert "without/results_2026-11-01T10-30-00.123456.json: no samples beside the results" in told
    assert "0.9900 in the results" in told
    assert "1 runs archived" in told
    assert len(list((tmp_path / "archive").rglob("*.*"))) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write(tmp_path / "results")
    (tmp_path / "archive").write_text("a file")
    with pytest.raises(ValueEvalError, match=r"archive/.*cannot be written"):
        archive([tmp_path / "results"], tmp_path / "archive")


def lines_cut(run: Path) -> None:
    run.write_text("\n".join(run.read_text().splitlines()[:-3]) + "\n")


def cell_altered(run: Path) -> None:
    run.write_text(run.read_text()[:-2] + "x\n")


def decisions_inverted(run: Path) -> None:
    found = read_run(run)
    write_run(run, found.ids, ~found.prediction)


@pytest.mark.parametrize(
    ("change", "damage", "message"),
    [
        ({"sha": "0" * 64}, None, "its labels are in data 000000000000, and the data at hand are"),
        ({"dataset": "nowhere"}, None, "its labels are not at hand: no set 'nowhere'"),
        ({}, lines_cut, "but not in the run"),
        ({}, cell_altered, f"line {len(DOCS) + 1}, field"),
        ({}, decisions_inverted, "by the samples but"),
    ],
)
def test_predictions_that_do_not_fit_are_not_used_and_it_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    damage: Callable[[Path], None] | None,
    message: str,
) -> None:
    write(tmp_path / "results", **change)
    archive([tmp_path / "results"], tmp_path / "archive")
    if damage is not None:
        damage(next((tmp_path / "archive").rglob("*.tsv")))
    table = analyse(collate(*read_results(find_results([tmp_path / "archive"]))))
    assert message in " ".join(problem.reason for problem in table.problems)
    (row,) = (row for board in table.boards for row in board.rows)
    assert not row.interval_by_samples
    assert row.mean("macro_f1") is not None


# ------------------------------------------------------------------------------- scores


def test_an_archive_keeps_the_scores_small_and_with_the_signs_of_the_decisions(
    tmp_path: Path,
) -> None:
    scores = likely(DOCS, 2.0)
    scores[0, :4] = [1e-30, -1e-30, 1e30, -1e30]
    write(tmp_path / "results", scores=scores, prediction=None)
    archive([tmp_path / "results"], tmp_path / "archive")
    (path,) = (tmp_path / "archive").rglob("*.scores.safetensors")
    assert path.stat().st_size < 2 * 20 * len(DOCS) + 300
    (run,), _ = read_results(find_results([tmp_path / "archive"]))
    read = read_checked(run)
    assert read.scores is not None
    order = np.argsort(DATA.ids)
    assert np.array_equal(read.scores > 0, scores[order] > 0)
    assert np.array_equal(read.scores > 0, read.prediction)
    ordinary = np.abs(scores[order]) < 100
    assert np.allclose(read.scores[ordinary], scores[order][ordinary], rtol=1e-3, atol=1e-6)


def test_scores_that_hardly_differ_are_kept_in_more_bits(tmp_path: Path) -> None:
    """Near 5 float16 knows steps of 0.004 alone: arguments would be tied, and macro_ap another."""
    scores = 5 + 1e-4 * likely(DOCS, 2.0)
    write(tmp_path / "results", scores=scores, prediction=None)
    archive([tmp_path / "results"], tmp_path / "archive")
    (run,), _ = read_results(find_results([tmp_path / "archive"]))
    read = read_checked(run)
    assert read.scores is not None
    assert np.allclose(read.scores, scores[np.argsort(DATA.ids)], rtol=1e-6)


def test_scores_that_do_not_belong_to_the_run_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "results", scores=likely(DOCS, 2.0), prediction=None)
    archive([tmp_path / "results"], tmp_path / "archive")
    (path,) = (tmp_path / "archive").rglob("*.scores.safetensors")
    (run,), _ = read_results(find_results([tmp_path / "archive"]))
    whole = path.read_bytes()
    short = np.zeros((3, 20), dtype=np.float16)
    nan = np.full((len(DOCS), 20), np.nan, dtype=np.float16)
    of_ids = {"ids_sha256": hashlib.sha256("\n".join(sorted(DATA.ids)).encode()).hexdigest()}
    for content, reason in (
        (whole[:-5], "cannot be read as scores"),
        (b"\x80\x04K\x01.", "cannot be read as scores"),
        (save({"scores": short}, {"ids_sha256": "0" * 64}), "scores of other arguments"),
        (save({"scores": short}, of_ids), "does not hold 20 scores for each"),
        (save({"scores": nan}, of_ids), "are not finite"),
        (save({"other": nan}, of_ids), "cannot be read as scores"),
    ):
        path.write_bytes(content)
        with pytest.raises(SamplesError, match=reason):
            read_checked(run)
    path.write_bytes(save({"scores": np.ones((len(DOCS), 20), dtype=np.float16)}, of_ids))
    with pytest.raises(SamplesError, match="by the scores but"):
        read_checked(run)
    path.unlink()
    assert read_checked(run).scores is None, "archives of before have no scores"
