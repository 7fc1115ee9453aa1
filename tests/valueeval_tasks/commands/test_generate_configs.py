"""The YAML files of the tasks: all are there, load, and are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from tasks import FOLDER, NAMES, SUFFIXES, TEMPLATES, WORDINGS

from valueeval.tasks.commands import generate_configs
from valueeval.tasks.harness.second_turn import SecondTurnTask
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.templates.decide import ALL_TEMPLATES, SECOND_TURNS


def test_every_template_has_two_paraphrases_at_least() -> None:
    assert {f"valueeval_{t}{w}" for t in ALL_TEMPLATES for w in WORDINGS} <= set(
        generate_configs.wordings()
    )
    assert len(NAMES) >= 126


def test_there_are_all_tasks_and_their_tags() -> None:
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False)
    assert sorted(manager.all_subtasks) == sorted(NAMES)
    tags = {tag: manager.task_index[tag].tags for tag in manager.all_tags}
    assert tags == {
        "valueeval": {f"valueeval_{t}" for t in TEMPLATES},
        **{f"valueeval{s}": {f"valueeval_{t}{s}" for t in TEMPLATES} for s in SUFFIXES[1:]},
        **{
            f"valueeval_{t}_all": {w for w in generate_configs.wordings() if w.split("_")[1] == t}
            for t in ALL_TEMPLATES
        },
    }
    assert not manager.all_groups


@pytest.mark.parametrize("path", sorted(FOLDER.glob("valueeval_*.yaml")), ids=lambda p: p.stem)
def test_every_file_loads(path: Path) -> None:
    """Directly: lm-eval swallows errors in YAML files."""
    config = load_yaml(path)
    assert config["task"] == path.stem
    second = config["template"] in SECOND_TURNS
    assert config["class"] is (SecondTurnTask if second else ValueEvalTask)


def test_the_set_files_are_up_to_date() -> None:
    configs = generate_configs.set_configs()
    for file_name, content in configs.items():
        assert (FOLDER / file_name).read_text(encoding="utf-8") == content, (
            f"{file_name}: run python -m valueeval.tasks.commands.generate_configs"
        )
    by_hand = {f"{name}.yaml" for name in generate_configs.wordings()}
    assert {path.name for path in FOLDER.glob("*_*.yaml")} == set(configs) | by_hand


@pytest.mark.parametrize("template", TEMPLATES)
def test_paraphrases_differ_in_their_words(template: str) -> None:
    wordings = [load_yaml(FOLDER / f"valueeval_{template}{w}.yaml") for w in WORDINGS]
    for key in ("description", "doc_to_text", "question"):
        assert len({wording[key] for wording in wordings}) == 3
