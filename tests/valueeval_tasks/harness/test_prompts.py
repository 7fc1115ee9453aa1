"""The prompts of the tasks, with and without examples and chat templates."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from tasks import DOC, TEMPLATES, WORDINGS, chat

from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.templates import cot, mbc, oa
from valueeval.tasks.values import VALUE_NAMES, VALUES

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
    """Everything but the caller's own system prompt is said by the user."""
    task = load("valueeval_bca_sample")
    prompts = task.fewshot_context(
        DOC, 0, system_instruction="Be brief.", apply_chat_template=True, chat_template=chat
    )
    assert prompts[3] == (
        "<system>Be brief.</>\n"
        "<user>Arguments rest on human values: on what people hold to be good and worth striving "
        "for. Read the argument and answer the question about it.\n\n"
        "Premise: without bees no fruit grows\n"
        "Conclusion: Bees should be protected\n"
        "Stance: for the conclusion\n"
        f"Question: Does this argument rest on the value of {HEDONISM.short}? "
        "Answer with one word: yes or no.</>\n"
        "<assistant>\n"
    )


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_of_a_chat(load: Callable[..., ValueEvalTask], template: str, wording: str) -> None:
    """No system role, no cue for an answer to go on after, all 20 names where names are asked."""
    task = load(f"valueeval_{template}{wording}_sample")
    for prompt in _contexts(task, 0, chat, True):
        assert prompt.startswith("<user>")
        said, end, rest = prompt.removeprefix("<user>").partition("</>")
        assert (end, rest) == ("</>", "\n<assistant>\n")
        assert said == said.strip()
        assert not re.search(r"(answers?|reasoning|note|values?( \w+)*):$", said.lower())
        assert "{" not in said
        asked = said.rpartition("\n\n")[2] if template in ("bca", "oa") else said
        assert re.search("answer|reply|say|tell|write|give|note down", asked, re.IGNORECASE)
        if template in ("cls", "mbc", "cot"):
            assert all(name in said for name in VALUE_NAMES)


def test_the_example_of_the_form_of_oa_is_of_no_value() -> None:
    words = {word for value in VALUES for word in (*value.keywords, *value.related)}
    assert words.isdisjoint({"talkative", "punctual"})


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
    assert "<system>" not in prompt
    assert prompt.startswith("<user>Arguments rest on human values")
    assert prompt.count("Arguments rest on human values") == 1
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
    examples = task._examples(20, task._wording, None)
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
    data = load_set(name)
    for argument, labels in zip(data.arguments, data.labels.astype(int), strict=True):
        yield {**asdict(argument), "labels": labels.tolist()}


def test_text_of_an_argument_is_never_read_as_a_template(
    load: Callable[..., ValueEvalTask],
) -> None:
    doc = {**DOC, "premise": "{{ value.short }} {% if %} <b>&amp;</b>"}
    prompt = load("valueeval_bca_sample").fewshot_context(doc, 0)[0]
    assert "Premise: {{ value.short }} {% if %} <b>&amp;</b>\n" in prompt


def test_too_many_examples(load: Callable[..., ValueEvalTask]) -> None:
    with pytest.raises(ValueEvalError, match="lower --num_fewshot"):
        load("valueeval_bca_sample").fewshot_context(DOC, 10_000)
