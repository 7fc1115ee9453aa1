"""Study files: blocks expanded by hand, and every mistake named before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from valueeval.study.design import DesignError, read_study, references

SIZE: dict[str, Any] = {
    "factors": {"base": ["small", "large"], "method": ["full", "lora"], "seed": [0, 1]},
    "options": {"epochs": 3},
    "rules": [{"when": {"base": "large", "method": "full"}, "options": {"epochs": 5}}],
    "exclude": [{"base": "large", "method": "lora"}],
}
CLAIM = {
    "name": "larger is better",
    "family": "size",
    "better": {"base": "large"},
    "than": {"base": "small", "method": "full"},
}


def write(folder: Path, content: Any) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def study_with(folder: Path, **changes: Any) -> Path:
    content = {"bases": {"large": "models/large"}, "blocks": {"size": SIZE}, "hypotheses": [CLAIM]}
    return write(folder, {**content, **changes})


def test_a_block_by_hand(tmp_path: Path) -> None:
    study = read_study(study_with(tmp_path))
    assert study.name == "study"
    assert [
        (c.options["base"], c.options["method"], c.options["seed"], c.options["epochs"])
        for c in study.cells
    ] == [
        ("small", "full", 0, 3),
        ("small", "full", 1, 3),
        ("small", "lora", 0, 3),
        ("small", "lora", 1, 3),
        ("models/large", "full", 0, 5),
        ("models/large", "full", 1, 5),
    ]
    assert study.cells[4].label == "size: large, full, seed 0"
    assert {c.sets for c in study.cells} == {("main",)}


def test_selections(tmp_path: Path) -> None:
    study = read_study(study_with(tmp_path))
    assert len(study.selected({"base": "small"})) == 4
    assert len(study.selected({"method": ["full", "lora"], "seed": 0})) == 3
    assert len(study.selected({"block": "size"})) == 6
    assert study.selected({"train_size": 64}) == []  # no factor of any cell


def test_references_to_other_cells(tmp_path: Path) -> None:
    average = {"factors": {"method": ["average"], "of": [{"base": "small", "method": "full"}]}}
    study = read_study(study_with(tmp_path, blocks={"size": SIZE, "average": average}))
    assert references(study.cells[-1]) == {"base": "small", "method": "full"}
    assert references(study.cells[0]) is None
    assert study.cells[-1].label == "average: average, of small+full"
    average["factors"]["of"] = [{"base": ["small", "large"], "method": "full"}]
    study = read_study(study_with(tmp_path, blocks={"size": SIZE, "average": average}))
    assert study.cells[-1].label == "average: average, of small+large+full"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": {}}, "unknown key block; did you mean blocks?"),
        ({"blocks": {}}, "blocks: name at least one"),
        ({"version": 0.1}, "version: write it in quotes"),
        ({"description": 3}, "study.yaml: description: expected words, not 3"),
        ({"sets": ["mian"]}, "study.yaml: sets: 'mian'; allowed: main, validation"),
        ({"sets": [["main"]]}, "sets: ['main']; allowed: main"),
        ({"sets": "main"}, "sets: expected a list"),
        (
            {"blocks": {"size": {**SIZE, "sets": ["zhihui"]}}},
            "blocks: size: sets: 'zhihui'; allowed: main, validation, zhihu, nahjalbalagha, nyt, "
            "cv, sample; did you mean zhihu?",
        ),
        (
            {"blocks": {"size": {**SIZE, "description": ["Does size help?"]}}},
            "blocks: size: description: expected words",
        ),
        ({"hypotheses": [{**CLAIM, "added": True}]}, "number 1: added: expected words, not True"),
        ({"bases": {"large": {"sha256": "0" * 64}}}, "bases: large: path: name a folder"),
        ({"bases": {"large": {"path": "x", "sha256": "78c0"}}}, "expected 64 hexadecimal digits"),
        ({"bases": {"large": {"path": "x", "sha": "0"}}}, "unknown key sha; did you mean sha256?"),
        ({"blocks": {"size": {"factors": {"seed": 3}}}}, "factors: seed: expected a list"),
        (
            {"blocks": {"size": {**SIZE, "exclude": [{"base": "huge"}]}}},
            "exclude: number 1 matches no cell",
        ),
        (
            {"blocks": {"size": {**SIZE, "exclude": [{"bas": "large"}]}}},
            "unknown key bas; did you mean base?",
        ),
        (
            {"blocks": {"size": {**SIZE, "rules": [{"when": {"seed": 7}, "options": {}}]}}},
            "rules: number 1 matches no cell",
        ),
        (
            {"blocks": {"size": {**SIZE, "rules": [{"options": {}}]}}},
            "rules: number 1: when is missing",
        ),
        (
            {"blocks": {"size": {**SIZE, "rules": [{"when": {"seed": 1}, "options": None}]}}},
            "rules: number 1: options: expected lines of",
        ),
        (
            {"blocks": {"size": {**SIZE, "options": {"per_conclusion": "2"}}}},
            "size: small, full, seed 0: per_conclusion: '2'; allowed: a whole number above 0",
        ),
        ({"options": {"limit": True}}, "limit: True; allowed: a whole number above 0"),
        (
            {"blocks": {"size": {"factors": {"seed": [0]}, "options": {"base": ["a"]}}}},
            "size: seed 0: base: ['a']; allowed: one name",
        ),
        ({"options": {"revision": 12}}, "revision: 12; allowed: one name, in quotes"),
        (
            {"blocks": {"size": {"factors": {"base": ["large", "small"], "seed": [0, 0]}}}},
            "there are two cells size: large, seed 0",
        ),
        ({"hypotheses": [{**CLAIM, "better": {"base": "huge"}}]}, "better selects no cell"),
        ({"hypotheses": [{"name": "x", "family": "y"}]}, "better is missing"),
        ({"hypotheses": [{**CLAIM, "metric": "accuracy"}]}, "allowed: macro_f1, official_f1"),
        (
            {"blocks": {"size": SIZE, "a": {"factors": {"method": ["average"]}}}},
            "name the cells to average",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError) as error:
        read_study(study_with(tmp_path, **changes))
    assert message in str(error.value)


def test_what_is_no_yaml(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    with pytest.raises(DesignError, match="cannot be read"):
        read_study(file)
    file.write_text("blocks: [", encoding="utf-8")
    with pytest.raises(DesignError, match="cannot be read as YAML"):
        read_study(file)
    file.write_text("- a list", encoding="utf-8")
    with pytest.raises(DesignError, match="expected lines of"):
        read_study(file)


def test_sides_on_different_arguments_are_refused(tmp_path: Path) -> None:
    rules = [*SIZE["rules"], {"when": {"base": "large"}, "options": {"per_conclusion": 2}}]
    claim = {**CLAIM, "than": {"base": "small", "method": "full"}}
    file = study_with(tmp_path, blocks={"size": {**SIZE, "rules": rules}}, hypotheses=[claim])
    with pytest.raises(DesignError, match=r"different arguments \(all arguments, at most 2 argum"):
        read_study(file)
