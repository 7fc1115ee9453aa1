"""``--model valueeval_chat``: chat models behind a server that speaks OpenAI's protocol.

The server is local and answers what a test tells it to, also badly.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from tasks import FOLDER

from valueeval.registration import register
from valueeval.tasks.errors import ValueEvalError

ALL_NO = "\n".join(f"{n}. no" for n in range(1, 21))
LIMIT = 6
Answer = Callable[[int, list[dict[str, str]]], tuple[int, dict[str, Any]]]


class Server:
    """A chat server; ``answer`` gets the number of the request, from 0, and its messages."""

    def __init__(self) -> None:
        self.answer: Answer = lambda number, messages: said(ALL_NO)
        self.seen: list[list[dict[str, str]]] = []
        self.keys: set[str | None] = set()
        self.breaks_off: set[int] = set()
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                messages = json.loads(self.rfile.read(length))["messages"]
                with lock:
                    number = len(server.seen)
                    server.seen.append(messages)
                    server.keys.add(self.headers.get("Authorization"))
                status, content = server.answer(number, messages)
                body = json.dumps(content).encode()
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:9] if number in server.breaks_off else body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1/chat/completions"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def said(text: str | None) -> tuple[int, dict[str, Any]]:
    return 200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def evaluate(server: Server, *tasks: str, **options: Any) -> dict[str, Any]:
    arguments = {"model": "some-model", "base_url": server.url, "num_concurrent": 2}
    metadata = options.pop("metadata", {})
    register()
    return simple_evaluate(
        model="valueeval_chat",
        model_args={**arguments, "max_retries": 2, **options.pop("model_args", {})},
        tasks=list(tasks),
        limit=LIMIT,
        apply_chat_template=True,
        task_manager=TaskManager(
            include_path=str(FOLDER), include_defaults=False, metadata=metadata
        ),
        **options,
    )


def test_prompts_reach_the_server_as_messages(server: Server) -> None:
    results = evaluate(server, "valueeval_mbc_sample", num_fewshot=2)
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 0
    assert len(server.seen) == LIMIT
    for messages in server.seen:
        assert [m["role"] for m in messages] == ["user", "assistant"] * 2 + ["user"]
        assert messages[0]["content"].startswith("People argue from values")
        assert messages[-1]["content"].endswith("up to 20.")
    assert server.keys == {"Bearer sk-secret"}
    assert "sk-secret" not in json.dumps(results, default=str)


def test_bad_answers_are_counted_and_failures_asked_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Null, no choice, filtered: unparsed and listed. Too many requests, errors: asked again."""
    filtered = (400, {"error": {"message": "\x1b[31mcontent filter", "code": "content_filter"}})
    bad = iter([said(None), (200, {"choices": []}), filtered, said("  ")])
    failing = iter([(429, {"error": "slow down"}), (500, {"error": "oops"})])
    refused: list[Any] = []

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        if number % 3 == 1 and (failure := next(failing, None)) is not None:
            refused.append(messages)
            return failure
        return next(bad, said(ALL_NO))

    server.answer = answer
    with caplog.at_level("DEBUG"):
        results = evaluate(server, "valueeval_mbc_sample")
    samples = results["samples"]["valueeval_mbc_sample"]
    assert len(samples) == LIMIT
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 4 / LIMIT
    assert len(server.seen) == LIMIT + 2
    assert all(server.seen.count(messages) == 2 for messages in refused)
    failed = results["config"]["failed_requests"]
    unread = {s["doc"]["id"] for s in samples if s["unparsed"] == 1}
    assert {each["id"] for each in failed} == unread
    assert sorted(each["problem"] for each in failed) == [
        "HTTP 400: \ufffd[31mcontent filter",
        "a response without an answer",
        "an empty answer",
        "an empty answer",
    ]
    assert "4 of 6 requests failed and count as unparsed" in caplog.text
    assert "sk-secret" not in caplog.text


def test_waiting_follows_the_server(server: Server) -> None:
    times: list[float] = []

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        times.append(time.monotonic())
        return (429, {}) if len(times) == 1 else said(ALL_NO)

    server.answer = answer
    evaluate(server, "valueeval_mbc_sample", model_args={"num_concurrent": 1})
    assert times[1] - times[0] >= 1  # Retry-After: 1


def test_what_is_refused_for_good_costs_one_answer(server: Server) -> None:
    first: list[Any] = []

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        first.append(messages)
        return (503, {"error": "overloaded"}) if messages == first[0] else said(ALL_NO)

    server.answer = answer
    arguments = {"max_retries": 1, "num_concurrent": 1}
    results = evaluate(server, "valueeval_mbc_sample", model_args=arguments)
    (failed,) = results["config"]["failed_requests"]
    assert failed["problem"] == "HTTP 503: overloaded"
    assert len(server.seen) == LIMIT + 1


def test_cut_answers_are_told(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    message = {"role": "assistant", "content": None, "reasoning_content": "Hm"}
    server.answer = lambda number, messages: (
        200,
        {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]},
    )
    results = evaluate(server, "valueeval_mbc_sample")
    assert results["config"]["failed_requests"][0]["problem"] == "an empty answer (length)"
    assert "6 of 6 answers were cut" in caplog.text
    assert "max_gen_toks=N" in caplog.text


def test_a_stopped_run_asks_nothing_twice(server: Server, tmp_path: Path) -> None:
    def broken(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        return said(ALL_NO) if number < 3 else (401, {"error": {"message": "no such key"}})

    server.answer = broken
    options: dict[str, Any] = {"use_cache": str(tmp_path / "cache")}
    alone = {"num_concurrent": 1}
    with pytest.raises(ValueEvalError, match="HTTP 401, the key is missing or wrong: no such key"):
        evaluate(server, "valueeval_mbc_sample", model_args=alone, **options)
    asked = len(server.seen)
    server.answer = lambda number, messages: said(ALL_NO)
    results = evaluate(server, "valueeval_mbc_sample", model_args=alone, **options)
    assert len(results["samples"]["valueeval_mbc_sample"]) == LIMIT
    assert len(server.seen) == asked + LIMIT - 3
    evaluate(server, "valueeval_mbc_sample", model_args={**alone, "model": "other"}, **options)
    assert len(server.seen) == asked + 2 * LIMIT - 3


def test_answers_that_break_off_are_asked_again(server: Server) -> None:
    server.breaks_off = {0}
    results = evaluate(server, "valueeval_mbc_sample", model_args={"num_concurrent": 1})
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 0
    assert len(server.seen) == LIMIT + 1


def test_two_turns(server: Server, tmp_path: Path) -> None:
    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        return said(ALL_NO if len(messages) == 3 else "They care.\nFinal answer: Tradition")

    server.answer = answer
    first = evaluate(server, "valueeval_cot_sample")
    lines = [
        json.dumps(
            {
                "doc": sample["doc"],
                # as lm-eval writes them
                "arguments": {"gen_args_0": {"arg_0": sample["arguments"][0][0]}},
                "filtered_resps": sample["filtered_resps"],
            }
        )
        for sample in first["samples"]["valueeval_cot_sample"]
    ]
    replies = tmp_path / "samples_valueeval_cot_sample.jsonl"
    replies.write_text("\n".join(lines) + "\n", encoding="utf-8")
    metadata = {"replies": str(replies)}
    results = evaluate(server, "valueeval_cot2list_sample", metadata=metadata)
    assert results["results"]["valueeval_cot2list_sample"]["unparsed,none"] == 0
    for messages in server.seen[LIMIT:]:
        assert [m["role"] for m in messages] == ["user", "assistant", "user"]
        assert messages[1]["content"] == "They care.\nFinal answer: Tradition"


def test_log_likelihoods_are_refused_in_one_line(server: Server) -> None:
    with pytest.raises(ValueEvalError, match="bca_sample needs log-likelihoods"):
        evaluate(server, "valueeval_bca_sample")
    assert server.seen == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "name the model"),
        ({"base_url": "localhost:8000"}, "an http address is wanted"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "no server answers"),
        ({"num_concurrent": 0}, "must be positive"),
        ({"num_concurrent": "many"}, "--model_args: invalid literal"),
        ({"modell": "x"}, "no argument 'modell'; did you mean model"),
    ],
)
def test_wrong_arguments(server: Server, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        evaluate(server, "valueeval_mbc_sample", model_args={"max_retries": 0, **changes})
