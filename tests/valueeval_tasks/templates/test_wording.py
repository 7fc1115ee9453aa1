"""The wordings of mbc, oa and cot against their readers: no prompt is taken for an answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest
import yaml

from valueeval.tasks.templates import cot, mbc, oa
from valueeval.tasks.templates.wording import Wording
from valueeval.tasks.values import VALUES

TEMPLATES = ("mbc", "oa", "cot")
PARAPHRASES = ("", "_p2", "_p3")
STANCES = {"in favor of": "for", "against": "against"}
DOC = {
    "premise": "jugglers practise in parks, and nobody has to watch them.",
    "conclusion": "We should allow juggling in public",
    "stance": "in favor of",
}
TARGET_DELIMITER = {"mbc": "\n", "oa": " ", "cot": " "}


def load(template: str, paraphrase: str) -> dict[str, Any]:
    file = resources.files("valueeval.tasks") / f"valueeval_{template}{paraphrase}.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config


def wording_of(config: dict[str, Any]) -> Wording:
    return Wording(config["description"], config["doc_to_text"], config["question"])


def description(config: dict[str, Any]) -> str:
    return wording_of(config).description


def turn(config: dict[str, Any], value: int | None) -> str:
    return wording_of(config).turn(DOC, value)


def asked(template: str) -> tuple[int | None, ...]:
    """The values that the template's questions are about."""
    return tuple(range(20)) if template == "oa" else (None,)


def parser(template: str, value: int | None) -> Callable[[str], Any]:
    if template == "oa":
        assert value is not None
        return lambda text: oa.parse(text, value)
    return {"mbc": mbc.parse, "cot": cot.parse}[template]


def gold(template: str, labels: list[int], value: int | None) -> str:
    if template == "oa":
        assert value is not None
        return oa.gold(labels, value)
    return {"mbc": mbc.gold, "cot": cot.gold}[template](labels)


every_wording = pytest.mark.parametrize(
    ("template", "paraphrase"), list(itertools.product(TEMPLATES, PARAPHRASES))
)
LABELS = [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]


@every_wording
def test_settings(template: str, paraphrase: str) -> None:
    config = load(template, paraphrase)
    assert config["task"] == f"valueeval_{template}{paraphrase}"
    assert config["template"] == template
    assert config["paraphrase"] == PARAPHRASES.index(paraphrase) + 1
    assert config.get("target_delimiter", " ") == TARGET_DELIMITER[template]
    generation = config["generation_kwargs"]
    assert generation["max_gen_toks"] == {"oa": 16, "mbc": 200, "cot": 512}[template]
    assert generation["do_sample"] is False


@every_wording
def test_prompt_says_what_it_must(template: str, paraphrase: str) -> None:
    config = load(template, paraphrase)
    for value in asked(template):
        prompt = description(config) + turn(config, value)
        assert prompt.count(DOC["premise"]) == prompt.count(DOC["conclusion"]) == 1
        described = VALUES if value is None else (VALUES[value],)
        assert all(prompt.count(one.short) == 1 for one in described)
        assert not {"{{", "{%", "\n\n\n"} & set(prompt)
        assert prompt == prompt.strip()


@every_wording
@pytest.mark.parametrize(("stance", "word"), STANCES.items())
def test_stance_is_one_word(template: str, paraphrase: str, stance: str, word: str) -> None:
    config = load(template, paraphrase)
    argument = wording_of(config)
    texts = {s: argument.argument({**DOC, "stance": s}) for s in STANCES}
    other = STANCES["against" if stance == "in favor of" else "in favor of"]
    assert f" {word} " in texts[stance]
    assert texts[stance].replace(f" {word} ", f" {other} ", 1) in texts.values()


@every_wording
def test_paraphrases_ask_for_the_same_values_in_the_same_order(
    template: str, paraphrase: str
) -> None:
    prompt = description(load(template, paraphrase))
    if template == "oa":
        assert not any(value.short in prompt for value in VALUES)
    else:
        places = [prompt.index(value.short) for value in VALUES]
        assert places == sorted(places)
    assert all(f"\n{n}. " in prompt for n in range(1, 21)) == (template == "mbc")


@every_wording
def test_generation_stops_at_the_next_example_and_not_before(
    template: str, paraphrase: str
) -> None:
    config = load(template, paraphrase)
    stops = config["generation_kwargs"]["until"]
    for value in asked(template):
        answer = gold(template, LABELS, value)
        assert not any(stop in answer for stop in stops)
        assert any(stop in f"{answer}\n\n{turn(config, value)}" for stop in stops)


@every_wording
def test_a_repeated_prompt_is_no_answer(template: str, paraphrase: str) -> None:
    config = load(template, paraphrase)
    for value in asked(template):
        parse, question = parser(template, value), turn(config, value)
        for prompt in (question, f"{description(config)}\n\n{question}"):
            assert parse(prompt) is None
            assert parse(f"{prompt}\n\n{prompt}") is None


@every_wording
def test_a_prompt_repeated_in_part_is_no_answer(template: str, paraphrase: str) -> None:
    config = load(template, paraphrase)
    bare = Wording("", "", config["question"])
    for value in asked(template):
        parse, question = parser(template, value), bare.turn(DOC, value).strip()
        for text in (description(config), question, turn(config, value)):
            words = text.split(" ")
            for end in range(4, len(words)):
                assert parse(" ".join(words[:end])) is None, " ".join(words[:end])


@every_wording
def test_an_answer_after_the_repeated_prompt_is_read(template: str, paraphrase: str) -> None:
    config = load(template, paraphrase)
    for value in asked(template):
        parse, question = parser(template, value), turn(config, value)
        answer = gold(template, LABELS, value)
        answered = question + TARGET_DELIMITER[template] + answer
        assert parse(answered) == parse(answer)
        assert parse(f"{description(config)}\n\n{answered}") == parse(answer)


@every_wording
def test_only_the_first_of_several_answers_is_read(template: str, paraphrase: str) -> None:
    config = load(template, paraphrase)
    for value in asked(template):
        parse = parser(template, value)
        answer = gold(template, LABELS, value)
        other = gold(template, [1 - label for label in LABELS], value)
        another = f"\n\n{turn(config, value)}{TARGET_DELIMITER[template]}{other}"
        assert parse(answer + another) == parse(answer) != parse(other)


@every_wording
def test_other_values_do_not_change_what_is_asked_first(template: str, paraphrase: str) -> None:
    """Prompts about the same argument share its text, for prefix caches."""
    config = load(template, paraphrase)
    wording = wording_of(config)
    for prompt in wording.turns(DOC, asked(template)):
        assert prompt.startswith(wording.argument(DOC))


def test_blanks_around_a_text_do_not_reach_the_prompt() -> None:
    wording = Wording("", "{{ premise }}|{{ conclusion }}|{{ stance_word }}", "?")
    doc = {"premise": " it helps ", "conclusion": "do it  ", "stance": "against"}
    assert wording.turn(doc) == "it helps|do it|against\n?"
