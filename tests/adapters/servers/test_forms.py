"""Forms of answers for servers: what they allow can be read, and is what the task asks for."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import jsonschema
import llguidance
import llguidance.hf
import pytest
from transformers import AutoTokenizer

from valueeval.adapters.servers.forms import FIELDS, GUIDED_TEMPLATES, answer_form
from valueeval.tasks.templates import cot, mbc, oa
from valueeval.tasks.templates.decide import ALL_TEMPLATES
from valueeval.tasks.values import VALUE_NAMES, VALUES

DRAWN = [random.Random(seed).choices((0, 1), (5, 1), k=20) for seed in range(20)]  # noqa: S311


def accepted(answer: object, template: str, value: int | None = None) -> str:
    """Return an answer in JSON that the schema of a template allows."""
    form = answer_form(template, value)
    assert form is not None
    jsonschema.Draft202012Validator.check_schema(form.schema)
    jsonschema.validate(answer, form.schema)
    text = json.dumps(answer)
    assert form.fits(text, "json_schema")
    assert form.fits(json.dumps(answer, indent=2), "json_schema")
    return text


@pytest.mark.parametrize("template", ["mbc", "cot2list"])
@pytest.mark.parametrize("labels", DRAWN)
def test_twenty_answers(template: str, labels: list[int]) -> None:
    numbered = [f"{n}. {name}" for n, name in enumerate(VALUE_NAMES, 1)]
    said = dict(zip(numbered, ["yes" if label else "no" for label in labels], strict=True))
    assert mbc.parse(accepted(said, template)) == tuple(map(bool, labels))
    form = answer_form(template, None)
    assert form is not None
    text = mbc.gold(labels)
    assert re.fullmatch(form.pattern, text)
    assert form.fits(text, "regex")
    assert mbc.parse(text) == tuple(map(bool, labels))


@pytest.mark.parametrize("value", range(20))
def test_a_word_about_the_speaker(value: int) -> None:
    form = answer_form("oa", value)
    assert form is not None
    for word in (*VALUES[value].keywords, "indifferent"):
        assert oa.parse(accepted({"answer": word}, "oa", value), value) is (word != "indifferent")
        assert form.fits(word, "guided_regex")
    assert not form.fits("blue", "regex")


@pytest.mark.parametrize("labels", [[0] * 20, [1] * 20, *DRAWN])
@pytest.mark.parametrize("reasoning", ["They care.", 'It says "Final answer: none". Face? {1} [x]'])
def test_reasoning_and_a_list(labels: list[int], reasoning: str) -> None:
    names = [name for name, label in zip(VALUE_NAMES, labels, strict=True) if label]
    text = accepted({"reasoning": reasoning, "final_answer": names}, "cot")
    assert cot.parse(text) == tuple(map(bool, labels))
    form = answer_form("cot", None)
    assert form is not None
    text = f"{reasoning}\nFinal answer: {'; '.join(names) or 'none'}"
    assert form.fits(text, "structured_outputs")
    assert cot.parse(text) == tuple(map(bool, labels))


def test_what_does_not_fit() -> None:
    form = answer_form("mbc", None)
    assert form is not None
    no = "\n".join(f"{n}. no" for n in range(1, 21))
    assert form.fits(no, "regex")
    for text in (no[:-4], f"Sure!\n{no}", "", json.dumps({"1": "no"})):
        assert not form.fits(text, "regex")
    for text in (no, "{", "[]", json.dumps({"1": "no"})):
        assert not form.fits(text, "json_schema")


def test_answers_that_are_cut_fit_as_far_as_they_go() -> None:
    form = answer_form("mbc", None)
    assert form is not None
    assert form.fits('{"1. Self', "json_schema", cut=True)
    assert form.fits("1. yes\n2. n", "regex", cut=True)
    for field in FIELDS:
        assert not form.fits("Sure! Here", field, cut=True)


@pytest.mark.parametrize(
    ("template", "value", "as_json", "as_text"),
    [
        (
            "mbc",
            None,
            {f"{n}. {v}": "no" for n, v in enumerate(VALUE_NAMES, 1)},
            mbc.gold([0] * 20),
        ),
        ("cot2list", None, None, mbc.gold([1] * 20)),
        *(("oa", v, {"answer": VALUES[v].keywords[-1]}, VALUES[v].keywords[0]) for v in range(20)),
        ("cot", None, {"reasoning": "So.", "final_answer": ["Face"]}, "So.\nFinal answer: Face"),
    ],
)
def test_an_engine_of_servers_takes_them(
    tiny_gpt2: Path, template: str, value: int | None, as_json: object, as_text: str
) -> None:
    """Compiled by llguidance, one of the engines by which vLLM and SGLang hold to a form."""
    form = answer_form(template, value)
    assert form is not None
    tokenizer = llguidance.hf.from_tokenizer(AutoTokenizer.from_pretrained(tiny_gpt2))
    of_json = llguidance.LLMatcher.grammar_from_json_schema(form.schema)
    of_text = llguidance.LLMatcher.grammar_from_regex(form.pattern)
    for grammar, answer in ((of_json, as_json and json.dumps(as_json)), (of_text, as_text)):
        matcher = llguidance.LLMatcher(tokenizer, grammar)
        assert matcher.get_error() == ""
        if answer:
            tokens = tokenizer.tokenize_str(answer)
            assert matcher.consume_tokens(tokens)
            assert matcher.is_accepting()


def test_words_are_plain_in_regular_expressions() -> None:
    for word in (*VALUE_NAMES, *(keyword for value in VALUES for keyword in value.keywords)):
        assert not set(word) & set(r".^$*+?{}[]\|()"), word


def test_fields_of_requests() -> None:
    form = answer_form("oa", 0)
    assert form is not None
    assert form.fields("json_schema") == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": form.schema},
        }
    }
    assert form.fields("structured_outputs") == {"structured_outputs": {"regex": form.pattern}}
    assert form.fields("regex") == {"regex": form.pattern}
    assert form.fields("guided_regex") == {"guided_regex": form.pattern}
    assert set(FIELDS) == {"json_schema", "structured_outputs", "regex", "guided_regex"}


@pytest.mark.parametrize("template", ALL_TEMPLATES)
def test_templates_with_a_form(template: str) -> None:
    form = answer_form(template, 3 if template == "oa" else None)
    assert (form is not None) == (template in GUIDED_TEMPLATES)
    if form is not None:
        # What OpenAI's strict mode asks of objects.
        assert form.schema["additionalProperties"] is False
        assert form.schema["required"] == list(form.schema["properties"])
