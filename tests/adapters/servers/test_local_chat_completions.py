"""lm-eval's own chat model, ``--model local-chat-completions``, with our tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from chat_server import ALL_NO, Server, said
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from tasks import FOLDER

from valueeval.tasks.errors import ValueEvalError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = Server()
    yield server
    server.close()


def evaluate(server: Server, task: str, **arguments: Any) -> dict[str, Any]:
    given = {"model": "some-model", "base_url": server.url, **arguments}
    return simple_evaluate(
        model="local-chat-completions",
        model_args=given,
        tasks=[task],
        limit=2,
        apply_chat_template=True,
        task_manager=TaskManager(include_path=str(FOLDER), include_defaults=False),
    )


@pytest.mark.parametrize("concurrent", [1, 2])
@pytest.mark.parametrize(
    ("template", "answer", "requests"),
    [("mbc", ALL_NO, 2), ("oa", "indifferent", 40), ("cot", "Hm.\nFinal answer: none", 2)],
)
def test_templates_that_generate(
    server: Server, template: str, answer: str, requests: int, concurrent: int
) -> None:
    server.answer = lambda number, messages: said(answer)
    task = f"valueeval_{template}_sample"
    results = evaluate(server, task, num_concurrent=concurrent)
    assert results["results"][task]["unparsed,none"] == 0
    assert results["results"][task]["predicted_rate,none"] == 0
    assert len(server.seen) == requests
    assert {messages[0]["role"] for messages in server.seen} == {"user"}


@pytest.mark.parametrize("template", ["bca", "cls"])
def test_log_likelihoods_are_refused_in_a_line(server: Server, template: str) -> None:
    task = f"valueeval_{template}_sample"
    with pytest.raises(ValueEvalError, match=f"{task} needs log-likelihoods, which chat serv"):
        evaluate(server, task)
    assert server.seen == []
