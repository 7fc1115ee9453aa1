"""Addresses of cells: what changes them and what does not; commands; options checked at once."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from valueeval import __version__
from valueeval.study import cells as cells_module
from valueeval.study.cells import Cell, resolve
from valueeval.study.cli import main
from valueeval.study.commands import (
    average_command,
    calibrate_command,
    cell_folder,
    evaluate_command,
    sample_places,
    train_options,
)
from valueeval.study.design import DesignError, read_study
from valueeval.tasks.data.dataset import load_set


def cells_of(folder: Path, blocks: dict[str, Any], **top: Any) -> list[Cell]:
    file = folder / "study.yaml"
    options = {"data": "sample", "base": str(folder / "base")}
    content = {"options": options, **top, "blocks": blocks}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return resolve(read_study(file), folder / "out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def key_of(folder: Path, **factors: Any) -> str:
    (cell,) = cells_of(folder, {"block": {"factors": {k: [v] for k, v in factors.items()}}})
    return cell.key


def test_the_address_is_that_of_the_work(folder: Path) -> None:
    """Defaults written out change nothing; everything that changes the result changes it."""
    plain = key_of(folder, method="lora")
    assert key_of(folder, method="lora", seed=0, lora_rank=8) == plain
    others = {
        key_of(folder, method="lora", seed=1),
        key_of(folder, method="lora", lora_rank=4),
        key_of(folder, method="full"),
        key_of(folder, method="none", template="bca"),
        key_of(folder, method="none", template="bca", num_fewshot=4),
        key_of(folder, method="none", template="cot"),
    }
    assert len(others) == 6
    assert plain not in others


def test_all_training_arguments_by_number(folder: Path) -> None:
    """A learning curve ends in the cell that leaves the number out."""
    number = len(load_set("sample_training").arguments)
    plain = key_of(folder, method="lora")
    assert key_of(folder, method="lora", train_size=number) == plain
    assert key_of(folder, method="lora", train_size=number - 1) != plain


def test_addresses_stay(folder: Path) -> None:
    """A study that is running finds its cells: their addresses change with the version alone."""
    content = {"version": "0.1.0"}
    blocks = {
        "folds": {"factors": {"fold": [0, 1]}, "options": {"folds": 2}, "sets": []},
        "average": {"factors": {"method": ["average"], "of": [{"block": "folds"}]}},
        "asked": {"factors": {"template": ["bca"]}, "options": {"method": "none"}},
    }
    assert [cell.key for cell in cells_of(folder, blocks, **content)] == [
        "9f77304f4be88d1c", "5a3fc15c2fbf8d8f", "76f3a3f49c1ea045", "39cd4d5992366b9c",
    ]  # fmt: skip


def test_other_weights_are_another_cell(folder: Path) -> None:
    before = key_of(folder, method="head")
    (folder / "base" / "model.safetensors").write_bytes(b"other weights")
    cells_module._base_identity.cache_clear()
    assert key_of(folder, method="head") != before


def test_tables_are_told_by_their_content(folder: Path, real_data_dir: Path) -> None:
    """Two files of one name are two cells, and so are a file and what it is changed into."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "train.csv").write_text(name, encoding="utf-8")

    def keys(**options: Any) -> list[str]:
        tables = [str(folder / name / "train.csv") for name in ("a", "b")]
        block = {"factors": {"data": tables}, "options": {"data_dir": str(real_data_dir)}}
        cells_module._file_hash.cache_clear()
        return [cell.key for cell in cells_of(folder, {"block": {**block, **options}})]

    before = keys()
    assert len(set(before)) == 2
    assert keys() == before
    (folder / "a" / "train.csv").write_text("changed", encoding="utf-8")
    after = keys()
    assert after[1] == before[1]
    assert after[0] not in before
    # The number of all arguments of touche23 is no number of all of a table's.
    number = len(load_set("training", real_data_dir).arguments)
    whole = {"data_dir": str(real_data_dir), "train_size": number}
    assert set(keys(options=whole)).isdisjoint(after)
    (folder / "a" / "train.csv").unlink()
    with pytest.raises(DesignError, match=r"data: .*train\.csv: cannot be read \(No such file"):
        keys()


def test_the_arguments_of_every_set_tell_a_cell(folder: Path, real_data_dir: Path) -> None:
    """Also of those that the training does not come with."""
    data = shutil.copytree(real_data_dir, folder / "data")
    options = {"data": "touche23", "base": str(folder / "base"), "data_dir": str(data)}

    def key(*sets: str) -> str:
        cells_module._set_hash.cache_clear()
        block = {"factors": {"seed": [0]}, "sets": list(sets)}
        (cell,) = cells_of(folder, {"block": block}, options=options)
        return cell.key

    main, both = key("main"), key("main", "zhihu")
    labels = data / "labels-validation-zhihu.tsv"
    text = labels.read_text(encoding="utf-8")
    labels.chmod(0o644)
    labels.write_text(text.replace("\t0\n", "\t1\n", 1), encoding="utf-8")
    assert key("main") == main
    assert key("main", "zhihu") != both


def test_the_hash_of_the_weights_stands_for_a_base_that_is_not_here(folder: Path) -> None:
    sha256 = hashlib.sha256(b"weights").hexdigest()
    bases = {"small": {"path": str(folder / "base"), "sha256": sha256}}
    block = {"a": {"factors": {"base": ["small"], "method": ["head"]}}}
    (here,) = cells_of(folder, block, bases=bases)
    assert here.key == key_of(folder, method="head")
    (folder / "base" / "model.safetensors").unlink()
    (folder / "base").rmdir()
    cells_module._base_identity.cache_clear()
    (away,) = cells_of(folder, block, bases=bases)
    assert away.key == here.key


def test_a_study_keeps_the_version_that_ran_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block = {"a": {"factors": {"method": ["head"]}}}
    (now,) = cells_of(folder, block)
    (same,) = cells_of(folder, block, version=__version__)
    (older,) = cells_of(folder, block, version="0.0.1")
    assert now.key == same.key != older.key
    words = [str(folder / "study.yaml"), "-o", str(folder / "out")]
    assert main([*words, "--status"]) == 0
    with pytest.raises(DesignError, match=r"of version 0\.0\.1, this is .* take `version` out"):
        main(words)


def test_other_weights_than_those_of_the_file(folder: Path) -> None:
    bases = {"small": {"path": str(folder / "base"), "sha256": "0" * 64}}
    with pytest.raises(DesignError, match=r"not 0000.* as the study says"):
        cells_of(folder, {"a": {"factors": {"base": ["small"]}}}, bases=bases)


def test_processes(folder: Path) -> None:
    """Several processes give other roundings, so another cell; one is what there is without."""
    assert key_of(folder, processes=1) == key_of(folder, seed=0)
    assert key_of(folder, processes=2) != key_of(folder, seed=0)
    with pytest.raises(DesignError, match="processes: 0; allowed"):
        key_of(folder, processes=0)


def test_two_blocks_share_a_cell(folder: Path) -> None:
    one, other = cells_of(
        folder, {"a": {"factors": {"seed": [1]}}, "b": {"factors": {"seed": [1]}}}
    )
    assert one.key == other.key


def test_cells_come_after_those_that_they_need(folder: Path) -> None:
    cells = cells_of(
        folder,
        {
            "average": {"factors": {"method": ["average"], "of": [{"block": "folds"}]}},
            "folds": {"factors": {"fold": [0, 1]}, "options": {"folds": 2}},
            "student": {
                "factors": {"seed": [0]},
                "options": {"folds": 2, "teacher": {"block": "folds"}},
            },
        },
    )
    names = [cell.design.factors["block"] for cell in cells]
    assert names.index("average") > max(n for n, name in enumerate(names) if name == "folds")
    by_block = {cell.design.factors["block"]: cell for cell in cells}
    folds = sorted(cell.key for cell in cells if cell.design.factors["block"] == "folds")
    assert list(by_block["average"].needs) == list(by_block["student"].needs) == folds
    teacher = train_options(by_block["student"], folder / "out")["teacher"]
    assert teacher.count("+") == 1
    assert all(key in teacher for key in folds)
    average = by_block["average"]
    assert average.train is None
    assert average.from_results
    command = average_command(average, folder / "out", folder / "results")
    assert command[1:3] == [str(folder / "out" / "cells" / key / "results") for key in folds]
    assert command[3:] == ["-o", str(folder / "results"), "--tasks", "valueeval_cls_sample"]


def test_an_average_of_cells_without_results_on_its_arguments(folder: Path) -> None:
    """Its members are run together: they have no results, or on other arguments."""
    of = {"method": ["average"], "of": [{"block": "folds"}]}
    for members, own in (
        ({"sets": []}, {}),
        ({"options": {"folds": 2, "limit": 3}}, {}),
        ({}, {"options": {"limit": 3}}),
    ):
        folds = {"factors": {"fold": [0, 1]}, "options": {"folds": 2}, **members}
        *_, average = cells_of(folder, {"folds": folds, "average": {"factors": of, **own}})
        assert not average.from_results
        command = evaluate_command(average, folder / "out", folder / "results")
        together = "+".join(f"{folder / 'out'}/cells/{key}/adapter" for key in average.needs)
        assert f"adapter={together}" in command


def test_cross_validation(folder: Path, real_data_dir: Path) -> None:
    """Five trainings without results of their own, and one result of all labelled arguments."""
    options = {"data": "touche23", "data_dir": str(real_data_dir)}
    *folds, together = cells_of(
        folder,
        {
            "folds": {
                "factors": {"fold": [0, 1, 2, 3, 4]},
                "options": {"protocol": "cv"},
                "sets": [],
            },
            "together": {
                "factors": {"method": ["average"], "of": [{"block": "folds"}]},
                "sets": ["cv"],
            },
        },
        options={**options, "base": str(folder / "base")},
    )
    assert all(cell.supporting and not cell.tasks for cell in folds)
    assert together.tasks == ("valueeval_cls_cv",)
    assert sorted(together.needs) == sorted(cell.key for cell in folds)
    assert not together.supporting
    assert not together.from_results
    with pytest.raises(DesignError, match="name a set to evaluate on"):
        cells_of(folder, {"a": {"factors": {"method": ["average"], "of": [{"block": "b"}]},
                                "sets": []}, "b": {"factors": {"seed": [0]}}})  # fmt: skip


FOLDS: dict[str, Any] = {
    "factors": {"fold": [0, 1, 2, 3, 4]},
    "options": {"protocol": "cv"},
    "sets": [],
}
AVERAGE = {"method": ["average"], "of": [{"block": "folds"}]}


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"folds": {**FOLDS, "sets": ["main"]}}, "fold 0: sets: main: it has seen labels of these"),
        ({"folds": {**FOLDS, "sets": ["cv"]}}, "fold 0: sets: cv: it has seen labels"),
        ({"plain": {"factors": {"seed": [0]}, "sets": ["main", "cv"]}}, "sets: cv: it has seen"),
        (
            {"folds": FOLDS, "average": {"factors": AVERAGE}},
            r"is evaluated on `sets: \[cv\]` alone",
        ),
        (
            {
                "folds": {**FOLDS, "options": {"folds": 5}},
                "average": {"factors": AVERAGE, "sets": ["cv"]},
            },
            "average, of folds: sets: cv: it has seen labels",
        ),
        (
            {"plain": {"factors": {"seed": [0]}, "sets": ["nyt"]}},
            "seed 0: arguments-test-nyt.tsv is missing",
        ),
    ],
)
def test_sets_that_would_be_refused_after_the_training(
    folder: Path, real_data_dir: Path, blocks: dict[str, Any], message: str
) -> None:
    options = {"data": "touche23", "base": str(folder / "base"), "data_dir": str(real_data_dir)}
    with pytest.raises(DesignError, match=message):
        cells_of(folder, blocks, options=options)


def test_cells_that_need_each_other(folder: Path) -> None:
    with pytest.raises(DesignError, match="need each other"):
        cells_of(
            folder,
            {
                "a": {"factors": {"teacher": [{"block": "b"}]}},
                "b": {"factors": {"teacher": [{"block": "a"}]}},
            },
        )


def test_tasks_and_the_words_of_an_evaluation(folder: Path) -> None:
    (cell,) = cells_of(
        folder,
        {
            "zero-shot": {
                "factors": {"template": ["bca"], "paraphrase": [2], "chat": [True]},
                "options": {"method": "none", "num_fewshot": 4, "dtype": "bfloat16", "limit": 8},
            }
        },
    )
    assert cell.tasks == ("valueeval_bca_p2_sample",)
    words = evaluate_command(cell, folder / "out", folder / "results")
    assert f"pretrained={folder / 'base'},dtype=bfloat16" in words
    assert words[words.index("--num_fewshot") + 1] == "4"
    assert words[words.index("--limit") + 1] == "8"
    assert "--apply_chat_template" in words


def test_the_revision_of_a_model_that_is_asked(folder: Path) -> None:
    """Another revision is another cell, so it is what must be loaded."""
    factors = {"base": ["org/model"], "revision": ["main", "v2"]}
    options = {"method": "none", "template": "cls"}
    main, other = cells_of(folder, {"a": {"factors": factors, "options": options}})
    assert main.key != other.key
    words = evaluate_command(other, folder / "out", folder / "results")
    assert "pretrained=org/model,revision=v2" in words


def test_options_of_trainings_may_stand_for_all_cells(folder: Path) -> None:
    """Also for those that train nothing, by their earlier names and with hyphens."""
    options = {"method": "none", "template": "bca", "data": "sample", "base": str(folder / "base")}
    blocks = {"a": {"factors": {"seed": [0]}, "options": options}}
    (plain,) = cells_of(folder, blocks)
    (same,) = cells_of(folder, blocks, options={"learning-rate": 0.1, "warmup": 0, "processes": 2})
    assert same.key == plain.key


def test_calibrated_cells_share_the_answers_of_raw_ones(folder: Path, real_data_dir: Path) -> None:
    """Raw answers about the test set are one cell, listed or not; those fitted on are added."""
    decisions = {"calibration": ["none", "content-free", "batch"], "thresholds": ["raw", "tuned"]}
    options = {"method": "none", "template": "bca", "data": "touche23"}
    block = {"factors": decisions, "options": {**options, "data_dir": str(real_data_dir)}}
    cells = cells_of(folder, {"zero-shot": block})
    by_factors = {
        (cell.design.factors["calibration"], cell.design.factors["thresholds"]): cell
        for cell in cells
        if not cell.supporting
    }
    supporting = {cell.sets[0]: cell for cell in cells if cell.supporting}
    assert len(by_factors) == 6
    assert sorted(supporting) == ["contentfree", "validation"]
    assert supporting["contentfree"].tasks == ("valueeval_bca_contentfree",)
    raw = by_factors["none", "raw"]
    assert raw.calibrated is None
    validation, content_free = supporting["validation"].key, supporting["contentfree"].key
    assert by_factors["none", "tuned"].needs == (raw.key, validation)
    assert by_factors["batch", "raw"].needs == (raw.key, validation)
    assert by_factors["content-free", "raw"].needs == (raw.key, content_free)
    assert by_factors["content-free", "tuned"].needs == (raw.key, validation, content_free)
    assert len({cell.key for cell in cells}) == len(cells)
    for cell in cells:
        assert all(key in [c.key for c in cells[: cells.index(cell)]] for key in cell.needs)
    # Without the raw cell in the file its answers are evaluated all the same.
    (only, *others) = cells_of(
        folder,
        {"tuned": {"factors": {"thresholds": ["tuned"]}, "options": block["options"]}},
    )[::-1]
    assert only.key == by_factors["none", "tuned"].key
    assert {cell.key for cell in others} == {raw.key, validation}
    assert all(cell.supporting for cell in others)


def test_the_words_of_a_calibrated_cell(folder: Path, real_data_dir: Path) -> None:
    options = {"method": "none", "template": "cls", "data": "touche23", "num_fewshot": 4}
    options["data_dir"] = str(real_data_dir)
    factors = {"calibration": ["content-free"], "thresholds": ["tuned"]}
    *_, cell = cells_of(folder, {"a": {"factors": factors, "options": options}})
    out = folder / "out"
    assert cell.calibrated is not None
    samples = {}
    for name, key in (("v", cell.calibrated.validation), ("c", cell.calibrated.content_free)):
        samples[name] = cell_folder(out, str(key)) / "results" / "m" / f"samples_{name}.jsonl"
        samples[name].parent.mkdir(parents=True)
        samples[name].touch()
    own = cell_folder(out, cell.key)
    assert calibrate_command(cell, cell.calibrated, out) == [
        "calibrate", "-o", str(own / "calibration.json"), "--prior", str(samples["c"]),
        "--thresholds", "shrunk", str(samples["v"]),
    ]  # fmt: skip
    words = evaluate_command(cell, out, folder / "results")
    assert f"pretrained={folder / 'base'},calibration={own / 'calibration.json'}" in words
    assert words[words.index("--use_cache") + 1] == str(own / "answers")
    assert words[words.index("--num_fewshot") + 1] == "4"


def test_the_first_arguments_of_each_conclusion(folder: Path) -> None:
    def cell(**options: Any) -> Cell:
        options = {"method": "none", "template": "bca", **options}
        (found,) = cells_of(folder, {"a": {"factors": {"seed": [0]}, "options": options}})
        return found

    conclusions = load_set("sample", None).conclusions
    places = sample_places(cell(per_conclusion=1))
    assert places is not None
    (chosen,) = places.values()
    assert list(places) == ["valueeval_bca_sample"]
    assert chosen == sorted({conclusions.index(conclusion) for conclusion in conclusions})
    assert sample_places(cell()) is None
    assert cell(per_conclusion=1).key != cell().key
    words = evaluate_command(cell(per_conclusion=1), folder / "out", folder / "results")
    assert words[words.index("--samples") + 1].endswith("samples.json")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"factors": {"method": ["lora"], "lora_rank": [0]}}, "lora_rank"),
        ({"factors": {"method": ["loar"]}}, "method"),
        ({"factors": {"sed": [1]}}, "no option sed; did you mean seed?"),
        ({"factors": {"method": ["none"]}}, "name a template"),
        (
            {"factors": {"lora_rank": [8]}, "options": {"method": "none", "template": "bca"}},
            "lora_rank: nothing is trained",
        ),
        (
            {
                "factors": {"thresholds": ["tuned"]},
                "options": {"method": "none", "template": "cot"},
            },
            "template cot: its answers have no scores",
        ),
        (
            {
                "factors": {"thresholds": ["tuned"]},
                "options": {"method": "none", "template": "bca"},
            },
            "the sample data have no validation task",
        ),
        (
            {
                "factors": {"calibration": ["prior"]},
                "options": {"method": "none", "template": "bca"},
            },
            "calibration: 'prior'; allowed: none, content-free, batch",
        ),
        (
            {
                "factors": {"base": [None]},
                "options": {"method": "none", "template": "bca"},
            },
            "method none: name a base",
        ),
        (
            {
                "factors": {"seed": [0]},
                "options": {"method": "none", "template": "bca", "num_fewshots": 4},
            },
            "no option num_fewshots; did you mean num_fewshot?",
        ),
        ({"factors": {"calibration": ["batch"]}}, "no option calibration"),
        (
            {"factors": {"limit": [4]}, "options": {"per_conclusion": 2}},
            "limit and per_conclusion: give one",
        ),
        ({"factors": {"per_conclusion": [0]}}, "per_conclusion: 0; allowed"),
    ],
)
def test_wrong_options_are_found_before_anything_runs(
    folder: Path, block: dict[str, Any], message: str
) -> None:
    with pytest.raises(DesignError) as error:
        cells_of(folder, {"block": block})
    assert message in str(error.value)
    assert "block: " in str(error.value)
    assert not (folder / "out").exists()
