"""``guided=True``: every answer has the form that its template asks for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from language_models import task_manager
from tasks import chat

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.causal import CausalReader
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.templates.decide import decide
from valueeval.tasks.values import VALUE_NAMES, VALUES

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def load(base: Path, batch_size: int, **kwargs: Any) -> LanguageModelLM:
    return LanguageModelLM(
        str(base), batch_size=batch_size, device="cpu", **{"guided": True, **kwargs}
    )


def requests_of(template: str, in_chat: bool, number: int = 3) -> list[list[ValueRequest]]:
    task = task_manager().load([f"valueeval_{template}_sample"])["tasks"][
        f"valueeval_{template}_sample"
    ]
    if template == "cot":
        task.set_config("generation_kwargs", {"max_gen_toks": 160}, update=True)
    options = {"apply_chat_template": in_chat, "chat_template": chat}
    return [
        task.construct_requests(
            doc, task.fewshot_context(doc, 0, **options), (template, place, 1), **options
        )
        for place, doc in enumerate(task.eval_docs.select(range(number)))
    ]


def answers(model: LanguageModelLM, asked: list[list[ValueRequest]]) -> list[list[str]]:
    said = iter(model.generate_until([one for row in asked for one in row], disable_tqdm=True))
    return [[next(said) for _ in row] for row in asked]


FORMS = {
    "mbc": re.compile(r"\s*1\. *(no|yes)(\n *\d+\. *(no|yes)){19}", re.IGNORECASE),
    "cot": re.compile(
        rf".*Final answer: *(none|({'|'.join(VALUE_NAMES)})(; *({'|'.join(VALUE_NAMES)}))*)\s*",
        re.DOTALL,
    ),
}


@pytest.mark.parametrize("in_chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("template", ["mbc", "oa", "cot"])
def test_every_answer_can_be_read(lively: Path, template: str, in_chat: bool) -> None:
    asked = requests_of(template, in_chat)
    said = answers(load(lively, 1), asked)
    assert answers(load(lively, 8), asked) == said
    for row in said:
        assert decide(template, row).unparsed == 0
        if template in FORMS:
            assert FORMS[template].fullmatch(row[0]), row[0]
        else:
            for value, text in zip(VALUES, row, strict=True):
                assert text.strip() in (*value.keywords, "indifferent")
    free = [decide(template, row) for row in answers(load(lively, 8, guided=False), asked)]
    assert sum(decision.unparsed for decision in free) > 0


def test_copies_of_a_cache_give_the_same(lively: Path, backend: str) -> None:
    if backend == "seq2seq":
        return  # it has no cache to copy
    model = load(lively, 8)
    expected = [answers(model, requests_of(template, False)) for template in ("mbc", "oa")]
    copying = CausalReader(CacheCopyScorer(model.loaded()), model.batch_limits())
    model._readers = replace(model._readers, near=copying)
    assert [answers(model, requests_of(t, False)) for t in ("mbc", "oa")] == expected


def test_what_is_guided_is_told_apart(lively: Path) -> None:
    guided, free = load(lively, 1), load(lively, 1, guided=False)
    assert (guided.get_model_info()["guided"], free.get_model_info()["guided"]) == (True, False)
    assert guided._identity() != free._identity()  # of --use_cache


def test_sampling_is_refused(lively: Path) -> None:
    (row,) = requests_of("mbc", False, 1)
    sampled = replace(row[0], arguments=(row[0].args[0], {"do_sample": True, "max_gen_toks": 9}))
    with pytest.raises(ValueEvalError, match=r"guided=True works with greedy .*do_sample"):
        load(lively, 1).generate_until([sampled], disable_tqdm=True)
