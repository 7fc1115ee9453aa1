"""Second turns: replies given back, and asked about."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tasks import DOC, FOLDER, WORDINGS, chat

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.values import VALUES

Load = Callable[..., ValueEvalTask]
REPLY = "Bees feed people.\nFinal answer: Universalism: nature"


def first_turn(
    folder: Path, load: Load, wording: str = "", reply: str = REPLY, **options: Any
) -> Path:
    """Write the samples of the first turn about DOC."""
    (prompt,) = load(f"valueeval_cot{wording}_sample").fewshot_context(DOC, 0, **options)
    path = folder / f"samples_valueeval_cot{wording}_sample.jsonl"
    sample = {
        "doc": DOC,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {}}},
        "filtered_resps": [reply],
    }
    path.write_text(json.dumps(sample) + "\n", encoding="utf-8")
    return path


IN_CHAT = {"apply_chat_template": True, "chat_template": chat, "fewshot_as_multiturn": True}


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_conversation_goes_on(load: Load, tmp_path: Path, wording: str) -> None:
    replies = first_turn(tmp_path, load, wording)
    (first,) = load(f"valueeval_cot{wording}_sample").fewshot_context(DOC, 0)
    task = load(f"valueeval_cot2{wording}_sample", replies=str(replies))
    prompts = task.fewshot_context(DOC, 0)
    assert len(prompts) == 20
    for value, prompt in zip(VALUES, prompts, strict=True):
        said, end, question = prompt.partition("Final answer: Universalism: nature\n")
        assert said == f"{first} Bees feed people.\n"
        assert end
        assert value.short in question or value.long in question
        assert question.endswith("\nAnswer:")
    (of_list,) = load(f"valueeval_cot2list{wording}_sample", replies=str(replies)).fewshot_context(
        DOC, 0
    )
    assert of_list.startswith(f"{first} {REPLY}\n")
    assert of_list.endswith("\nAnswers:")


@pytest.mark.parametrize("system", [None, "Be brief."])
@pytest.mark.parametrize("wording", WORDINGS)
def test_the_conversation_goes_on_in_a_chat(
    load: Load, tmp_path: Path, wording: str, system: str | None
) -> None:
    options = {**IN_CHAT, "system_instruction": system}
    replies = first_turn(tmp_path, load, wording, **options)
    (first,) = load(f"valueeval_cot{wording}_sample").fewshot_context(DOC, 0, **options)
    task = load(f"valueeval_cot2{wording}_sample", replies=str(replies))
    prompts = task.fewshot_context(DOC, 0, **options)
    for value, prompt in zip(VALUES, prompts, strict=True):
        rest = prompt.removeprefix(first.removesuffix("<assistant>\n"))
        said, question = rest.split("</>\n<user>")
        assert said == f"<assistant>{REPLY}"
        assert value.short in question or value.long in question
        assert question.endswith("</>\n<assistant>\n")
    # What is before the question is read once.
    assert REPLY in os.path.commonprefix(prompts)  # noqa: RUF071 (of strings, indeed)


def test_requests_are_those_of_bca_and_of_mbc(load: Load, tmp_path: Path) -> None:
    replies = str(first_turn(tmp_path, load))
    for template, count in (("cot2", 80), ("cot2list", 1)):
        task = load(f"valueeval_{template}_sample", replies=replies)
        requests = task.construct_requests(DOC, task.fewshot_context(DOC, 0), ("task", 0, 1))
        assert len(requests) == count
        assert {request.template for request in requests} == {template}
    entries = task.process_results(DOC, ["\n".join(f"{n + 1}. no" for n in range(20))])
    assert entries["macro_f1"]["prediction"] == [0] * 20
    assert entries["unparsed"] == 0


def test_results_say_what_was_asked_about(load: Load, tmp_path: Path) -> None:
    replies = first_turn(tmp_path, load)
    metadata = load("valueeval_cot2_sample", replies=str(replies)).dump_config()["metadata"]
    assert metadata["first_turn"] == {
        "model": None,
        "samples_sha256": hashlib.sha256(replies.read_bytes()).hexdigest(),
    }


def test_thinking_is_not_given_back(load: Load, tmp_path: Path) -> None:
    replies = first_turn(tmp_path, load, reply=f"<think>hm</think>{REPLY}")
    prompts = load("valueeval_cot2_sample", replies=str(replies)).fewshot_context(DOC, 0)
    assert "hm" not in prompts[0].split()
    assert REPLY in prompts[0]
    empty = first_turn(tmp_path, load, reply="<think>hm")
    prompts = load("valueeval_cot2_sample", replies=str(empty)).fewshot_context(DOC, 0)
    assert prompts[0].partition("Reasoning:")[2].startswith(" \nQuestion:")


@pytest.mark.parametrize(
    ("first", "second"),
    [({}, IN_CHAT), (IN_CHAT, {}), ({}, {"system_instruction": "Be brief."})],
)
def test_replies_to_another_prompt_are_refused(
    load: Load, tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    replies = first_turn(tmp_path, load, **first)
    task = load("valueeval_cot2_sample", replies=str(replies))
    with pytest.raises(ValueEvalError, match="argument X1 answers another prompt"):
        task.fewshot_context(DOC, 0, **second)


def on(date: str) -> dict[str, Any]:
    """Options of a chat template that prints the date."""
    return {**IN_CHAT, "chat_template": lambda messages: f"Today: {date}.\n{chat(messages)}"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("30 Nov 2026", "01 Dec 2026"),
        ("30 November 2026", "1 May 2027"),
        ("November 30, 2026", "December 1, 2026"),
        ("Monday, November 30, 2026", "Tuesday, December 01, 2026"),
        ("2026-11-30", "2026-12-01"),
        ("Mon, 30 Nov 2026", "Thu, 3 Dec 2026"),
    ],
)
def test_the_second_turn_may_be_asked_on_another_day(
    load: Load, tmp_path: Path, first: str, second: str
) -> None:
    replies = first_turn(tmp_path, load, **on(first))
    task = load("valueeval_cot2_sample", replies=str(replies))
    (prompt, *_) = task.fewshot_context(DOC, 0, **on(second))
    assert prompt.startswith(f"Today: {second}.")
    for other in ("someday", f"{second}, at noon", f"{second}\nBe brief"):
        with pytest.raises(ValueEvalError, match="argument X1 answers another prompt"):
            task.fewshot_context(DOC, 0, **on(other))


def test_what_else_is_refused(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="cot2_sample asks about a model's replies: name them"):
        load("valueeval_cot2_sample")
    with pytest.raises(ValueEvalError, match="replies: no file"):
        load("valueeval_cot2_sample", replies=str(tmp_path / "none*.jsonl"))
    replies = first_turn(tmp_path, load)
    other = tmp_path / "samples_valueeval_cot2_sample.jsonl"
    shutil.copy(replies, other)
    with pytest.raises(ValueEvalError, match="samples are of cot2, not of cot"):
        load("valueeval_cot2_sample", replies=str(other))
    replies.write_text(replies.read_text() * 2)
    with pytest.raises(ValueEvalError, match="line 2: argument X1 is there twice"):
        load("valueeval_cot2_sample", replies=str(replies))
    replies.write_text('{"doc": {"id": "X1"}}\n')
    with pytest.raises(ValueEvalError, match="line 1: not a sample that lm_eval"):
        load("valueeval_cot2_sample", replies=str(replies))
    replies = first_turn(tmp_path, load)
    task = load("valueeval_cot2_sample", replies=str(replies))
    with pytest.raises(ValueEvalError, match="no reply about argument X2"):
        task.fewshot_context({**DOC, "id": "X2"}, 0)
    with pytest.raises(ValueEvalError, match="no few-shot examples"):
        task.fewshot_context(DOC, 1)


def first_turn_of(tmp_path: Path, load: Load, model: str, config: dict[str, Any]) -> Path:
    """Write the samples of a first turn beside the results of a model."""
    date = "2026-11-28T12-00-00.000001"
    named = tmp_path / f"samples_valueeval_cot_sample_{date}.jsonl"
    shutil.move(first_turn(tmp_path, load), named)
    metadata = {"template": "cot", "paraphrase": 1, "set": "sample", "data_sha256": "0" * 64}
    results = {
        "model_name": model,
        "config": config,
        "configs": {"valueeval_cot_sample": {"metadata": metadata}},
        "n-shot": {"valueeval_cot_sample": 0},
    }
    (tmp_path / f"results_{date}.json").write_text(json.dumps(results), encoding="utf-8")
    return named


def test_replies_of_another_model_are_refused(load: Load, tmp_path: Path) -> None:
    named = first_turn_of(tmp_path, load, "org/one", {})
    assert load("valueeval_cot2_sample", replies=str(named), pretrained="org/one")
    with pytest.raises(ValueEvalError, match="replies are by org/one, not by org/two"):
        load("valueeval_cot2_sample", replies=str(named), pretrained="org/two")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("org/adapter", {"pretrained": "org/base", "peft": "org/adapter"}),
        ("org/base", {"pretrained": "org/base", "lora_local_path": "runs/adapter"}),
        ("org/base", {"pretrained": "org/base", "calibration": "tuned.json"}),
        ("NAME", {"model": "NAME", "base_url": "http://localhost/v1"}),
    ],
)
def test_both_turns_of_one_model_go_together(
    load: Load, tmp_path: Path, name: str, arguments: dict[str, str]
) -> None:
    config = {"model_args": arguments, "calibration": arguments.get("calibration")}
    named = first_turn_of(tmp_path, load, name, config)
    assert load("valueeval_cot2_sample", replies=str(named), **arguments)
    with pytest.raises(ValueEvalError, match="the replies are by"):
        load(
            "valueeval_cot2_sample",
            replies=str(named),
            **arguments | {"pretrained": "x", "model": "x", "peft": "x"},
        )


def test_the_first_turn_is_included_not_copied() -> None:
    for wording in WORDINGS:
        for template in ("cot2", "cot2list"):
            text = (FOLDER / f"valueeval_{template}{wording}.yaml").read_text("utf-8")
            assert f"include: valueeval_cot{wording}.yaml" in text
            assert "doc_to_text" not in text
