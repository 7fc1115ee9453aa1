"""The lm-eval tasks: YAML files, prompts, requests, decisions, metadata, errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

import valueeval.tasks
from valueeval.tasks.commands import generate_configs as _generate_configs
from valueeval.tasks.data.dataset import file_names
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.scores import scoring
from valueeval.tasks.templates import cot, decide, mbc, oa
from valueeval.tasks.templates.wording import Wording
from valueeval.tasks.values import VALUE_NAMES, VALUES

FOLDER = Path(valueeval.tasks.__file__).parent
TEMPLATES = ("cls", "mbc", "bca", "oa", "cot")
WORDINGS = ("", "_p2", "_p3")
SUFFIXES = ("", "_validation", "_zhihu", "_nahjalbalagha", "_nyt", "_sample")
NAMES = [f"{parent}{s}" for parent in _generate_configs.wordings() for s in SUFFIXES]
VERSIONS = {"cls": 1.0, "bca": 1.0, "mbc": 1.1, "oa": 1.1, "cot": 1.1}
SAMPLE_NAMES = [name for name in NAMES if name.endswith("_sample")]

DOC = {
    "id": "X1",
    "conclusion": "Bees should be protected",
    "stance": "in favor of",
    "premise": "without bees no fruit grows",
    "labels": [0] * 17 + [1] + [0] * 2,  # Universalism: nature
}


@pytest.fixture(scope="module")
def official_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the official data; every set is a split of the sample set."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("training", "validation", "main", "zhihu", "nahjalbalagha", "nyt"):
        split = {"training": "sample-training", "validation": "sample-validation"}.get(
            name, "sample-test"
        )
        for kind, target in zip(("arguments", "labels"), file_names(name), strict=True):
            shutil.copy(FOLDER / f"{kind}-{split}.tsv", folder / target)
    return folder


@pytest.fixture(scope="module")
def load(official_layout: Path) -> Callable[..., ValueEvalTask]:
    """Load a task by name, with extra metadata as --metadata and --model_args give it."""

    @cache
    def manager(**metadata: Any) -> TaskManager:
        metadata = {"data_dir": str(official_layout), **metadata}
        return TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)

    def load_task(name: str, **metadata: Any) -> ValueEvalTask:
        task = manager(**metadata).load([name])["tasks"][name]
        task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(1234)
        return task

    return load_task


def chat(messages: list[dict[str, str]]) -> str:
    """A chat template whose output is easy to read."""
    turns = [f"<{message['role']}>{message['content']}</>\n" for message in messages]
    return "".join(turns) + "<assistant>\n"


# ------------------------------------------------------------------------------- YAML files


def test_every_template_has_two_paraphrases_at_least() -> None:
    assert {f"valueeval_{t}{w}" for t in TEMPLATES for w in WORDINGS} <= set(
        _generate_configs.wordings()
    )
    assert len(NAMES) >= 90


def test_there_are_all_tasks_and_their_tags() -> None:
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False)
    assert sorted(manager.all_subtasks) == sorted(NAMES)
    tags = {tag: manager.task_index[tag].tags for tag in manager.all_tags}
    assert tags == {
        "valueeval": {f"valueeval_{t}" for t in TEMPLATES},
        **{f"valueeval{s}": {f"valueeval_{t}{s}" for t in TEMPLATES} for s in SUFFIXES[1:]},
        **{
            f"valueeval_{t}_all": {w for w in _generate_configs.wordings() if w.split("_")[1] == t}
            for t in TEMPLATES
        },
    }
    assert not manager.all_groups


@pytest.mark.parametrize("path", sorted(FOLDER.glob("valueeval_*.yaml")), ids=lambda p: p.stem)
def test_every_file_loads(path: Path) -> None:
    """Directly: lm-eval swallows errors in YAML files."""
    config = load_yaml(path)
    assert config["task"] == path.stem
    assert config["class"] is ValueEvalTask


@pytest.mark.parametrize("name", NAMES)
def test_every_task_knows_what_it_is(load: Callable[..., ValueEvalTask], name: str) -> None:
    task = load(name)
    _, template, *rest = name.split("_")
    metadata = task.dump_config()["metadata"]
    assert metadata["template"] == task.template == template
    paraphrase = rest.pop(0) if rest and rest[0][1:].isdigit() else "p1"
    assert metadata["paraphrase"] == int(paraphrase[1:])
    last = rest[-1] if rest else ""
    assert metadata["set"] == (last or "main")
    assert metadata["sample"] is (last == "sample")
    assert metadata["data_official"] is False
    assert len(metadata["data_sha256"]) == 64
    assert metadata["version"] == task.VERSION == VERSIONS[template]
    assert metadata["main_metric"] == "macro_f1"
    assert metadata["licence"] == ("Apache-2.0" if last == "sample" else None)
    assert Path(metadata["config_source"]).name == f"{name}.yaml"
    assert task.config.fewshot_split == ("sample_training" if last == "sample" else "training")
    json.dumps(task.dump_config(), allow_nan=False)


def test_the_set_files_are_up_to_date() -> None:
    configs = _generate_configs.set_configs()
    for file_name, content in configs.items():
        assert (FOLDER / file_name).read_text(encoding="utf-8") == content, (
            f"{file_name}: run python -m valueeval.tasks.commands.generate_configs"
        )
    by_hand = {f"{name}.yaml" for name in _generate_configs.wordings()}
    assert {path.name for path in FOLDER.glob("*_*.yaml")} == set(configs) | by_hand


@pytest.mark.parametrize("template", TEMPLATES)
def test_paraphrases_differ_in_their_words(template: str) -> None:
    wordings = [load_yaml(FOLDER / f"valueeval_{template}{w}.yaml") for w in WORDINGS]
    for key in ("description", "doc_to_text", "question"):
        assert len({wording[key] for wording in wordings}) == 3


def test_model_args_cannot_alter_our_metadata(load: Callable[..., ValueEvalTask]) -> None:
    stray = {"template": "oa", "set": "nyt", "version": 7, "data_sha256": "0", "sample": False}
    task = load("valueeval_bca_sample", **stray, pretrained="somewhere")
    assert task.template == "bca"
    assert task.VERSION == 1.0
    metadata = task.config.metadata
    assert metadata["pretrained"] == "somewhere"
    assert {key: metadata[key] for key in stray} == {
        **{"template": "bca", "set": "sample", "version": 1.0, "sample": True},
        "data_sha256": load("valueeval_bca_sample").config.metadata["data_sha256"],
    }


def test_the_official_files_are_recognised(
    load: Callable[..., ValueEvalTask], real_data_dir: Path
) -> None:
    metadata = load("valueeval_bca", data_dir=str(real_data_dir)).config.metadata
    assert metadata["data_official"] is True
    assert metadata["licence"] == "CC-BY-4.0"
    assert metadata["citation"].startswith("https://")


def test_every_metric_has_an_aggregation_and_a_direction(
    load: Callable[..., ValueEvalTask],
) -> None:
    task = load("valueeval_bca_sample")
    assert tuple(task.aggregation()) == tuple(task.aggregation() | task.higher_is_better())
    assert set(task.aggregation()) == set(task.higher_is_better()) == set(scoring.METRICS)
    assert task.higher_is_better()["macro_f1"] is True
    assert task.higher_is_better()["f1_hedonism"] is True
    assert task.higher_is_better()["unparsed"] is False
    assert task.higher_is_better()["macro_f1_ci_low"] is None
    listed = [entry["metric"] for entry in task.config.metric_list]
    assert listed == list(scoring.METRICS)


# ---------------------------------------------------------------------------------- prompts

HEDONISM = VALUES[3]

ARGUMENT_AND_QUESTION = {
    "cls": (
        'Argument for the claim that "Bees should be protected": without bees no fruit grows\n'
        "Which human value does this argument appeal to?\n"
        "Value:"
    ),
    "bca": (
        "Premise: without bees no fruit grows\n"
        "Conclusion: Bees should be protected\n"
        "Stance: for the conclusion\n"
        f"Question: Does this argument rest on the value of {HEDONISM.short}?\n"
        "Answer:"
    ),
    "mbc": (
        "Premise: without bees no fruit grows\n"
        "Conclusion: Bees should be protected\n"
        "Stance: for the conclusion\n"
        "Answers:"
    ),
    "oa": (
        'I argue for the claim "Bees should be protected", because: without bees no fruit grows\n'
        f"In respect of {HEDONISM.short}, these words describe a person who says this:"
    ),
    "cot": (
        "Premise: without bees no fruit grows\n"
        "Conclusion: Bees should be protected\n"
        "Stance: for the conclusion\n"
        "Reasoning:"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_golden_prompt(load: Callable[..., ValueEvalTask], template: str) -> None:
    task = load(f"valueeval_{template}_sample")
    prompts = task.fewshot_context(DOC, 0)
    assert len(prompts) == {"cls": 2, "mbc": 1, "bca": 20, "oa": 20, "cot": 1}[template]
    prompt = prompts[3 if template in ("bca", "oa") else 0]
    instruction, blank, turn = prompt.rpartition("\n\n")
    assert blank
    assert turn == ARGUMENT_AND_QUESTION[template]
    assert instruction.startswith(task.config.description[:30])
    assert "{" not in instruction


def test_golden_prompt_of_the_empty_argument(load: Callable[..., ValueEvalTask]) -> None:
    task = load("valueeval_cls_sample")
    instruction = "Arguments appeal to human values: to what people hold to be good and worth"
    assert task.fewshot_context(DOC, 0)[1] == (
        f"{instruction} striving for.\n\n"
        "Argument: N/A\n"
        "Which human value does this argument appeal to?\n"
        "Value:"
    )


def test_golden_prompt_of_a_chat(load: Callable[..., ValueEvalTask]) -> None:
    task = load("valueeval_cls_sample")
    prompts = task.fewshot_context(
        DOC, 0, system_instruction="Be brief.", apply_chat_template=True, chat_template=chat
    )
    instruction = "Arguments appeal to human values: to what people hold to be good and worth"
    assert prompts[0] == (
        f"<system>Be brief.\n\n{instruction} striving for.</>\n"
        f"<user>{ARGUMENT_AND_QUESTION['cls']}</>\n"
        "<assistant>\n"
    )


def _contexts(task: ValueEvalTask, fewshot: int, chat_template: Any, multiturn: bool) -> list[str]:
    return task.fewshot_context(
        DOC,
        fewshot,
        apply_chat_template=chat_template is not None,
        fewshot_as_multiturn=multiturn,
        chat_template=chat_template,
    )


@pytest.mark.parametrize("chat_template", [None, chat], ids=["plain", "chat"])
@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("template", ["bca", "oa"])
def test_questions_share_everything_up_to_the_question(
    load: Callable[..., ValueEvalTask], template: str, wording: str, chat_template: Any
) -> None:
    prompts = _contexts(load(f"valueeval_{template}{wording}_sample"), 2, chat_template, True)
    shared = os.path.commonprefix(prompts)  # noqa: RUF071 (of strings, indeed)
    for part in (DOC["premise"], DOC["conclusion"]):
        assert part in shared
    assert len(set(prompts)) == 20
    for value, prompt in zip(VALUES, prompts, strict=True):
        assert value.short in prompt or value.long in prompt or value.name in prompt


@pytest.mark.parametrize("multiturn", [False, True])
def test_examples_in_a_chat(load: Callable[..., ValueEvalTask], multiturn: bool) -> None:
    task = load("valueeval_bca_sample")
    prompt = _contexts(task, 2, chat, multiturn)[0]
    assert prompt.count("<system>") == 1
    assert prompt.count("<user>") == (3 if multiturn else 1)
    assert prompt.count("<assistant>") == (3 if multiturn else 1)
    assert (prompt.count("<assistant>yes</>") + prompt.count("<assistant>no</>") == 2) is multiturn
    assert prompt.count("Premise:") == 3


@pytest.mark.parametrize("template", TEMPLATES)
def test_examples_are_the_same_for_every_argument_and_never_from_the_test_set(
    load: Callable[..., ValueEvalTask], template: str
) -> None:
    task = load(f"valueeval_{template}_sample")
    docs = list(task.eval_docs)
    openings = set()
    for doc in (docs[0], docs[-1]):
        prompt = task.fewshot_context(doc, 3)[0]
        openings.add(prompt[: prompt.index(task.doc_to_text(doc))])
    (opening,) = openings
    assert not any(doc["premise"] in opening for doc in docs)
    assert opening.endswith("\n\n")
    again = load(f"valueeval_{template}_sample")
    assert again.fewshot_context(docs[0], 3)[0].startswith(opening)
    again.set_fewshot_seed(1)
    assert not again.fewshot_context(docs[0], 3)[0].startswith(opening)


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_examples_show_right_answers_that_the_parser_reads(
    load: Callable[..., ValueEvalTask], template: str, wording: str
) -> None:
    task = load(f"valueeval_{template}{wording}_sample")
    by_turn = {}
    for doc in load_docs("sample_training"):
        about = range(20) if template in ("bca", "oa") else (None,)
        by_turn.update({task._wording.turn(doc, value): (doc, value) for value in about})
    examples = task._examples(20)
    assert len(examples) == 20
    for turn, answer in examples:
        doc, value = by_turn[turn]
        held = tuple(map(bool, doc["labels"]))
        if template == "cls":
            assert held[VALUE_NAMES.index(answer)]
        elif template == "bca":
            assert answer == ("yes" if held[value] else "no")
        elif template == "oa":
            assert oa.parse(answer, value) is held[value]
        else:
            assert {"mbc": mbc, "cot": cot}[template].parse(answer) == held


def load_docs(name: str) -> Iterator[dict[str, Any]]:
    from valueeval.tasks.data.dataset import load_set

    data = load_set(name)
    for argument, labels in zip(data.arguments, data.labels.astype(int), strict=True):
        yield {**asdict(argument), "labels": labels.tolist()}


def test_text_of_an_argument_is_never_read_as_a_template(
    load: Callable[..., ValueEvalTask],
) -> None:
    doc = {**DOC, "premise": "{{ value.short }} {% if %} <b>&amp;</b>"}
    prompt = load("valueeval_bca_sample").fewshot_context(doc, 0)[0]
    assert "Premise: {{ value.short }} {% if %} <b>&amp;</b>\n" in prompt


# --------------------------------------------------------------------------------- requests


def _requests(task: ValueEvalTask, **kwargs: Any) -> list[ValueRequest]:
    return task.construct_requests(
        DOC, task.fewshot_context(DOC, 0), metadata=("name", 5, 1), **kwargs
    )


def test_requests_of_cls(load: Callable[..., ValueEvalTask]) -> None:
    requests = _requests(load("valueeval_cls_sample"))
    assert [r.role for r in requests] == ["name"] * 20 + ["empty"] * 20
    assert [r.value for r in requests] == [*range(20), *range(20)]
    assert [r.arguments[1] for r in requests[:20]] == [f" {name}" for name in VALUE_NAMES]
    assert [r.arguments[1] for r in requests[20:]] == [f" {name}" for name in VALUE_NAMES]
    assert len({r.arguments[0] for r in requests}) == 2


def test_requests_of_bca(load: Callable[..., ValueEvalTask]) -> None:
    requests = _requests(load("valueeval_bca_sample"))
    assert [r.role for r in requests] == ["no", "yes"] * 20
    assert [r.value for r in requests] == [v for v in range(20) for _ in range(2)]
    assert [r.arguments[1] for r in requests] == [" no", " yes"] * 20
    assert len({r.arguments[0] for r in requests}) == 20


@pytest.mark.parametrize(("template", "count", "toks"), [("oa", 20, 16), ("mbc", 1, 200)])
def test_requests_that_generate(
    load: Callable[..., ValueEvalTask], template: str, count: int, toks: int
) -> None:
    requests = _requests(load(f"valueeval_{template}_sample"))
    assert len(requests) == count
    assert {r.role for r in requests} == {"answer"}
    assert [r.value for r in requests] == (list(range(20)) if template == "oa" else [None])
    assert all(r.arguments[1]["max_gen_toks"] == toks for r in requests)
    assert requests[0].arguments[1] is not requests[-1].arguments[1] or count == 1


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_every_request_carries(load: Callable[..., ValueEvalTask], template: str) -> None:
    task = load(f"valueeval_{template}_sample")
    requests = _requests(task)
    assert [r.idx for r in requests] == list(range(len(requests)))
    for request in requests:
        assert (request.task_name, request.doc_id, request.repeats) == ("name", 5, 1)
        assert request.template == template
        assert request.doc == DOC
        assert request.request_type == task.OUTPUT_TYPE


def test_no_blank_before_an_answer_that_begins_a_turn(
    load: Callable[..., ValueEvalTask],
) -> None:
    requests = _requests(load("valueeval_bca_sample"), apply_chat_template=True, chat_template=chat)
    assert {r.arguments[1] for r in requests} == {"no", "yes"}


def test_gen_kwargs_reach_the_requests(load: Callable[..., ValueEvalTask]) -> None:
    task = load("valueeval_mbc_sample")
    task.set_config(key="generation_kwargs", value={"max_gen_toks": 7}, update=True)
    (request,) = _requests(task)
    assert request.arguments[1]["max_gen_toks"] == 7
    assert request.arguments[1]["until"]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_build_what_one_builds(
    load: Callable[..., ValueEvalTask], world_size: int
) -> None:
    def built(rank: int, world_size: int) -> set[tuple[Any, ...]]:
        task = load("valueeval_bca_sample")
        task.build_all_requests(limit=7, rank=rank, world_size=world_size)
        return {(r.doc["id"], r.idx, *r.arguments) for r in task.instances}

    parts = [built(rank, world_size) for rank in range(world_size)]
    assert set().union(*parts) == built(0, 1)
    assert sum(map(len, parts)) == 7 * 40


def test_cached_requests_follow_wording_data_and_seed(
    load: Callable[..., ValueEvalTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))

    def first_prompt(task: ValueEvalTask, **kwargs: Any) -> str:
        task.build_all_requests(cache_requests=True, **kwargs)
        return str(task.instances[0].arguments[0])

    prompt = first_prompt(load("valueeval_bca_sample"), limit=2)
    assert len(list(tmp_path.iterdir())) == 1
    cached = load("valueeval_bca_sample")
    assert first_prompt(cached, limit=3) == prompt
    assert len(list(tmp_path.iterdir())) == 1
    assert len(cached.instances) == 3 * 40
    assert isinstance(cached.instances[0], ValueRequest)

    reworded = load("valueeval_bca_sample")
    reworded.config.description = "Other words."
    reworded._wording.description = "Other words."
    assert first_prompt(reworded).startswith("Other words.")
    for seed in (99, 100):
        reseeded = load("valueeval_bca_sample")
        reseeded.config.num_fewshot = 1
        reseeded.set_fewshot_seed(seed)
        first_prompt(reseeded)
    assert len(list(tmp_path.iterdir())) == 4
    assert first_prompt(load("valueeval_bca_sample"), samples=[4]) != prompt


# -------------------------------------------------------------------------------- decisions


def test_cls_predicts_names_that_gain_by_the_argument() -> None:
    given = [(-1.0, False), (-3.0, True)] + [(-2.0, False)] * 18
    decision = decide.decide("cls", given + [(-2.0, False)] * 20)
    assert decision.prediction == (True, *[False] * 19)
    assert decision.scores == (1.0, -1.0, *[0.0] * 18)
    assert decision.unparsed == 0


def test_bca_predicts_where_yes_beats_no() -> None:
    decision = decide.decide("bca", [(-2.0, False), (-1.0, True)] + [(-1.0, True)] * 38)
    assert decision.prediction == (True, *[False] * 19)
    assert decision.scores == (1.0, *[0.0] * 19)


def test_a_model_that_returns_no_numbers_predicts_nothing() -> None:
    decision = decide.decide("bca", [(float("nan"), False)] * 40)
    assert decision == ((False,) * 20, None, 0.0)


def test_an_unread_list_predicts_nothing_and_is_counted() -> None:
    assert decide.decide("mbc", ["What a question!"]) == ((False,) * 20, None, 1.0)


def test_oa_counts_the_share_of_unread_answers() -> None:
    keyword = VALUES[3].keywords[0]
    answers = [""] * 20
    answers[3] = keyword
    decision = decide.decide("oa", answers)
    assert decision.prediction == (*[False] * 3, True, *[False] * 16)
    assert decision.unparsed == 19 / 20


def test_a_sample_is_decided_anew_from_the_strings_in_its_file() -> None:
    sample = {"doc": DOC, "filtered_resps": [["-2.5", "False"], ["-1.5", "True"]] * 20}
    entry = decide.entries_from_sample(json.loads(json.dumps(sample)), "bca")["macro_f1"]
    assert entry == {
        "id": "X1",
        "labels": DOC["labels"],
        "prediction": [1] * 20,
        "scores": [1.0] * 20,
        "unparsed": 0.0,
    }


@pytest.mark.parametrize(
    ("sample", "template", "message"),
    [
        ({"doc": DOC}, "bca", "not a sample of a ValueEval bca task: KeyError: 'filtered_resps'"),
        ({"doc": DOC, "filtered_resps": ["yes"]}, "bca", "40 responses expected, got 1"),
        ({"doc": DOC, "filtered_resps": ["yes"] * 40}, "bca", "not a sample of"),
        ({"doc": {}, "filtered_resps": [["-1", "True"]] * 40}, "cls", "KeyError: 'id'"),
        ({}, "abc", "no template 'abc'; there are cls, mbc, bca, oa, cot"),
    ],
)
def test_a_sample_that_is_none_of_ours(sample: dict[str, Any], template: str, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        decide.entries_from_sample(sample, template)


# ----------------------------------------------------------------------------------- errors


def _config(**changes: Any) -> dict[str, Any]:
    config = load_yaml(FOLDER / "valueeval_bca_sample.yaml")
    config.pop("tag")
    config.update(changes)
    return {key: value for key, value in config.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "bc"}, "bca_sample: no template 'bc'; there are cls, mbc, bca, oa, cot"),
        ({"question": None}, "valueeval_bca_sample: the YAML file lacks question"),
        ({"question": "{{ value"}, "`question` is no valid Jinja template"),
        ({"doc_to_text": "{% if %}"}, "`doc_to_text` is no valid Jinja template"),
        ({"question": "{{ valeu }}"}, "`question`: 'valeu' is undefined here; known are premise"),
        ({"doc_to_text": "{{ value }}"}, "`doc_to_text`: 'value' is undefined"),
        ({"metric_list": [{"metric": "f2", "higher_is_better": True}]}, "no metric f2"),
    ],
)
def test_a_wrong_yaml_file(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        ValueEvalTask(config=_config(**changes))


def test_data_that_are_not_there(
    load: Callable[..., ValueEvalTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VALUEEVAL_DATA", raising=False)
    monkeypatch.setenv("VALUEEVAL_CACHE", str(tmp_path))
    with pytest.raises(ValueEvalError, match="_sample"):
        load("valueeval_bca", data_dir=None)
    with pytest.raises(ValueEvalError, match="nowhere"):
        load("valueeval_bca", data_dir=str(tmp_path / "nowhere"))
    load("valueeval_bca_sample", data_dir=None)


def test_too_many_examples(load: Callable[..., ValueEvalTask]) -> None:
    with pytest.raises(ValueEvalError, match="lower --num_fewshot"):
        load("valueeval_bca_sample").fewshot_context(DOC, 10_000)


def test_light_modules_stay_light() -> None:
    """Re-scoring must not cost the import of lm_eval or torch."""
    code = (
        "import sys, valueeval.tasks.templates.decide, valueeval.tasks.harness.fewshot;"
        "print(sorted({'lm_eval', 'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_blanks_around_a_text_do_not_reach_the_prompt() -> None:
    wording = Wording("", "{{ premise }}|{{ conclusion }}|{{ stance_word }}", "?")
    doc = {"premise": " it helps ", "conclusion": "do it  ", "stance": "against"}
    assert wording.turn(doc) == "it helps|do it|against\n?"
