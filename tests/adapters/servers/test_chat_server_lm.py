"""``--model valueeval_chat``: chat models behind a server that speaks OpenAI's protocol.

The server is local and answers what a test tells it to, also badly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ALL_NO, Server, likeliest, said
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from tasks import FOLDER
from urllib3.exceptions import SSLError
from urllib3.response import HTTPResponse

from valueeval.adapters.servers.connection import _Retry
from valueeval.registration import register
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUES

LIMIT = 6


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = Server()
    yield server
    server.close()


def evaluate(server: Server, *tasks: str, **options: Any) -> dict[str, Any]:
    arguments = {"model": "some-model", "base_url": server.url, "num_concurrent": 2}
    metadata = options.pop("metadata", {})
    register()
    return simple_evaluate(
        model="valueeval_chat",
        model_args={**arguments, "max_retries": 2, **options.pop("model_args", {})},
        tasks=list(tasks),
        limit=options.pop("limit", LIMIT),
        apply_chat_template=options.pop("apply_chat_template", True),
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
        'a response without an answer: {"choices": []}',
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


def thought(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
    """Return an answer that has come no further than its thoughts."""
    message = {"role": "assistant", "content": None, "reasoning_content": "Hm"}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]}


def test_cut_answers_are_told(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = thought
    results = evaluate(server, "valueeval_mbc_sample")
    assert results["config"]["failed_requests"][0]["problem"] == "an empty answer (length)"
    assert "6 of 6 answers were cut" in caplog.text
    assert "max_gen_toks=N" in caplog.text


def test_where_all_answers_are_cut_the_run_ends(server: Server) -> None:
    server.answer = thought
    told = r"no request succeeded \(an empty answer \(length\): 20\)\.\n.*max_gen_toks=N"
    with pytest.raises(ValueEvalError, match=told):
        evaluate(server, "valueeval_mbc_sample", limit=40)


@pytest.mark.parametrize(("task", "arguments"), [("mbc", {}), ("bca", {"top_logprobs": 5})])
def test_where_the_first_arguments_all_fail_the_run_ends(
    server: Server, task: str, arguments: dict[str, Any]
) -> None:
    server.answer = lambda number, messages: (400, {"error": "temperature: leave it out"})
    told = r"no request succeeded \(HTTP 400: temperature: leave it out: \d+\)\.\n.*temperature=1"
    with pytest.raises(ValueEvalError, match=told):
        evaluate(server, f"valueeval_{task}_sample", model_args=arguments, limit=40)


def test_one_argument_that_is_refused_ends_no_run(server: Server) -> None:
    """A filter refuses all 20 questions about it; here they are the first ones."""
    server.answer = lambda number, messages: (
        (400, {"error": "content filter"}) if number < 20 else said("none of these words")
    )
    results = evaluate(server, "valueeval_oa_sample", model_args={"num_concurrent": 1}, limit=2)
    assert len(results["config"]["failed_requests"]) == 20


def test_with_answers_from_the_cache_the_run_goes_on(server: Server, tmp_path: Path) -> None:
    """A request that is refused for good fails in every run; it must not end the run."""
    refused: list[Any] = []

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        if number < 2:
            refused.append(messages)
        return (400, {"error": "content filter"}) if messages in refused else said(ALL_NO)

    server.answer = answer
    options: dict[str, Any] = {"use_cache": str(tmp_path / "cache")}
    evaluate(server, "valueeval_mbc_sample", **options)
    asked = len(server.seen)
    results = evaluate(server, "valueeval_mbc_sample", **options)
    assert len(server.seen) == asked + 2
    assert len(results["config"]["failed_requests"]) == 2


def test_plain_prompts_are_refused(server: Server) -> None:
    told = "valueeval_chat asks in the turns of a chat: add --apply_chat_template"
    with pytest.raises(ValueEvalError, match=told):
        evaluate(server, "valueeval_mbc_sample", apply_chat_template=False)
    assert server.seen == []


def test_a_server_without_tls_is_told_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Retry, "sleep", lambda *_: pytest.fail("asked again"))
    arguments = {"base_url": server.url.replace("http:", "https:"), "num_concurrent": 1}
    told = r"https://127.* no TLS connection \(\[SSL.*\)\. .*http://…; .*REQUESTS_CA_BUNDLE"
    with pytest.raises(ValueEvalError, match=told):
        evaluate(server, "valueeval_mbc_sample", model_args=arguments)


def test_a_tls_connection_that_breaks_off_is_asked_again() -> None:
    retry = _Retry(total=3)
    broken = SSLError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol")
    assert retry.increment("POST", "/", error=broken).total == 2
    with pytest.raises(SSLError):
        retry.increment("POST", "/", error=SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))


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


def test_answers_that_are_none(server: Server) -> None:
    """An error under HTTP 200; a text that a filter has cut; an error that repeats the key."""
    filtered = said("1. no\n2. no")
    filtered[1]["choices"][0]["finish_reason"] = "content_filter"
    bad = iter([(200, {"error": {"message": "model overloaded"}}), filtered,
                (400, {"error": "key sk-secret is odd"})])  # fmt: skip
    server.answer = lambda number, messages: next(bad, said(ALL_NO))
    results = evaluate(server, "valueeval_mbc_sample")
    assert sorted(each["problem"] for each in results["config"]["failed_requests"]) == [
        "HTTP 400: key [key] is odd",
        "a response without an answer: model overloaded",
        "stopped by the server's content filter",
    ]
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 3 / LIMIT


@pytest.mark.parametrize(
    ("asked", "waited"), [("3", 3), ("1200", 600), ("soon", None), (None, None)]
)
def test_waiting_has_bounds(
    asked: str | None, waited: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    response = HTTPResponse(headers={} if asked is None else {"Retry-After": asked})
    assert _Retry().get_retry_after(response) == waited
    assert ("the server asks to wait 1200 s: waiting 600 s" in caplog.text) == (waited == 600)


def test_a_late_answer_is_asked_again_then_given_up(server: Server) -> None:
    server.sleeps = {0: 1.5, 2: 1.5, 3: 1.5}  # the second request is asked twice, in vain
    arguments = {"num_concurrent": 1, "timeout": 0.5, "max_retries": 1}
    results = evaluate(server, "valueeval_mbc_sample", model_args=arguments)
    (failed,) = results["config"]["failed_requests"]
    assert failed["problem"] == "no answer in time or the connection broke"
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 1 / LIMIT
    assert len(server.seen) == LIMIT + 2


def test_answers_that_always_break_off_cost_one_answer(server: Server) -> None:
    server.breaks_off = {1, 2, 3}
    results = evaluate(server, "valueeval_mbc_sample", model_args={"num_concurrent": 1})
    (failed,) = results["config"]["failed_requests"]
    assert failed["problem"] == "the answer broke off"
    assert len(results["samples"]["valueeval_mbc_sample"]) == LIMIT


# ------------------------------------------------------------------------------ guided decoding


def in_form(payload: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the first answer that the schema of a request allows."""
    schema = payload["response_format"]["json_schema"]["schema"]
    answer = {
        name: [] if kind["type"] == "array" else kind.get("enum", ["They care."])[0]
        for name, kind in schema["properties"].items()
    }
    return said(json.dumps(answer))


def test_forms_are_sent_and_read(server: Server) -> None:
    server.answer = lambda number, messages: in_form(server.payloads[number])
    arguments = {"guided": "json_schema"}
    tasks = ("valueeval_mbc_sample", "valueeval_oa_sample", "valueeval_cot_sample")
    results = evaluate(server, *tasks, model_args=arguments)
    assert {results["results"][task]["unparsed,none"] for task in tasks} == {0}
    rates = [results["results"][task]["predicted_rate,none"] for task in tasks]
    assert rates == [1, 1, 0]  # yes comes first; a keyword; no names
    assert (results["config"]["guided"], results["config"]["answers_off_form"]) == (
        "json_schema",
        0,
    )
    assert not any("stop" in payload for payload in server.payloads)
    longest = max(payload["max_tokens"] for payload in server.payloads)
    assert longest == 768  # JSON with names takes more room than the 512 of cot


def test_a_regular_expression_goes_in_the_field_of_the_server(server: Server) -> None:
    arguments = {"guided": "structured_outputs"}
    results = evaluate(server, "valueeval_mbc_sample", model_args=arguments)
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 0
    for payload in server.payloads:
        assert payload["structured_outputs"]["regex"].startswith(r"1\. (?:[Yy]es|[Nn]o)\n2\. ")
        assert payload["max_tokens"] == 200


def test_a_server_that_refuses_forms(server: Server) -> None:
    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        if "response_format" in server.payloads[number]:
            return 400, {"error": {"message": "unknown field response_format"}}
        return said(ALL_NO)

    server.answer = answer
    told = (
        "does not take guided=json_schema: HTTP 400: unknown field response_format\n"
        "Leave it out of --model_args"
    )
    with pytest.raises(ValueEvalError, match=told):
        evaluate(server, "valueeval_mbc_sample", model_args={"guided": "json_schema"})
    assert len(server.seen) <= 2 * 2  # two at a time, each asked once more without the form


def test_a_server_that_ignores_forms(server: Server) -> None:
    with pytest.raises(ValueEvalError, match=r"takes guided=json_schema and ignores it: .*'1. no"):
        evaluate(server, "valueeval_mbc_sample", model_args={"guided": "json_schema"})


def test_a_server_that_ignores_forms_and_cuts_answers(server: Server) -> None:
    message = {"role": "assistant", "content": "They care"}
    server.answer = lambda number, messages: (
        200,
        {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]},
    )
    with pytest.raises(ValueEvalError, match="takes guided=json_schema and ignores it"):
        evaluate(server, "valueeval_cot_sample", model_args={"guided": "json_schema"})


def test_what_is_filtered_is_not_taken_for_a_refused_form(server: Server) -> None:
    filtered: list[Any] = []

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        filtered.append(messages)
        if messages == filtered[0]:
            return 400, {"error": {"message": "content filter"}}
        return in_form(server.payloads[number])

    server.answer = answer
    arguments = {"guided": "json_schema", "num_concurrent": 1}
    results = evaluate(server, "valueeval_mbc_sample", model_args=arguments)
    (failed,) = results["config"]["failed_requests"]
    assert failed["problem"] == "HTTP 400: content filter"
    assert results["results"]["valueeval_mbc_sample"]["unparsed,none"] == 1 / LIMIT


def test_single_answers_off_the_form_are_counted(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda number, messages: (
        said("Sorry.") if number == 3 else in_form(server.payloads[number])
    )
    arguments = {"guided": "json_schema", "num_concurrent": 1}
    results = evaluate(server, "valueeval_mbc_sample", model_args=arguments)
    assert results["config"]["answers_off_form"] == 1
    assert "1 answers do not have the form that guided=json_schema asks for" in caplog.text


# ------------------------------------------------------------------ yes and no by likeliest tokens


def test_yes_and_no_by_likeliest_tokens(server: Server, tmp_path: Path) -> None:
    """The first token's likeliest spellings decide; what is not listed is told."""

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        question = messages[-1]["content"]
        if VALUES[0].short in question:
            return likeliest(("Yes", -0.5), (" no", -2.0), ("Well", -3.0))
        if VALUES[1].short in question:
            return likeliest(("Well", -0.1), ("No", -4.0))
        return likeliest(("no", -0.1), ("yes", -3.0))

    server.answer = answer
    options: dict[str, Any] = {
        "model_args": {"top_logprobs": 5},
        "use_cache": str(tmp_path / "cache"),
    }
    results = evaluate(server, "valueeval_bca_sample", **options)
    assert len(server.seen) == LIMIT * 20  # one for each question, not for each spelling
    for payload in server.payloads:
        assert (payload["max_tokens"], payload["top_logprobs"]) == (1, 5)
        assert payload["logprobs"] is True
    (scores,) = {tuple(sample["macro_f1"]["scores"])
                 for sample in results["samples"]["valueeval_bca_sample"]}  # fmt: skip
    assert scores[:3] == pytest.approx((1.5, 0.0, -2.9))
    assert scores[1] <= 0  # "No" against at most as much
    scored = results["results"]["valueeval_bca_sample"]
    assert scored["predicted_rate,none"] == 1 / 20
    assert isinstance(scored["macro_ap,none"], float)
    assert 0.7 < scored["answer_mass,none"] < 1
    assert results["config"]["top_logprobs"] == 5
    assert results["config"]["first_tokens"] == {
        "both_listed": 19 * LIMIT, "one_listed": LIMIT, "questions": 20 * LIMIT,
    }  # fmt: skip
    asked = len(server.seen)
    again = evaluate(server, "valueeval_bca_sample", **options)
    assert len(server.seen) == asked
    assert again["results"] == results["results"]


def test_a_question_without_yes_and_no_is_unparsed(server: Server) -> None:
    server.answer = lambda number, messages: likeliest(
        *([("<think>", -0.1), ("So", -3.0)] if number == 7 else [("yes", -0.1), ("no", -3.0)])
    )
    results = evaluate(server, "valueeval_bca_sample", model_args={"top_logprobs": 5})
    scored = results["results"]["valueeval_bca_sample"]
    assert scored["unparsed,none"] == pytest.approx(1 / 20 / LIMIT)
    assert scored["macro_ap,none"] is None  # one argument lacks scores
    assert results["config"]["first_tokens"]["none_listed"] == 1


def test_a_server_without_log_probabilities(server: Server) -> None:
    arguments = {"top_logprobs": 20}
    with pytest.raises(ValueEvalError, match="takes top_logprobs=20 and tells no log-prob"):
        evaluate(server, "valueeval_bca_sample", model_args=arguments)

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        if "logprobs" in server.payloads[number]:
            return 422, {"error": "no logprobs here"}
        return said("yes")

    server.answer = answer
    with pytest.raises(ValueEvalError, match="does not take top_logprobs=20: HTTP 422: no logpr"):
        evaluate(server, "valueeval_bca_sample", model_args=arguments)


def test_a_failed_question_is_unparsed_and_listed(server: Server) -> None:
    server.answer = lambda number, messages: (
        (503, {"error": "busy"}) if number == 30 else likeliest(("yes", -0.1), ("no", -3.0))
    )
    arguments = {"top_logprobs": 5, "max_retries": 0, "num_concurrent": 1}
    results = evaluate(server, "valueeval_bca_sample", model_args=arguments)
    (failed,) = results["config"]["failed_requests"]
    assert failed["problem"] == "HTTP 503: busy"
    scored = results["results"]["valueeval_bca_sample"]
    assert scored["unparsed,none"] == pytest.approx(1 / 20 / LIMIT)


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("bca", {}, "bca_sample needs log-likelihoods, .*\\n.*or add top_logprobs=20"),
        ("cls", {}, "cls_sample needs log-likelihoods of texts of several tokens"),
        ("cls", {"top_logprobs": 20}, r"several tokens.*\n.*valueeval_bca with top_logprobs=20"),
    ],
)
def test_log_likelihoods_are_refused_in_a_line(
    server: Server, task: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueEvalError, match=message):
        evaluate(server, f"valueeval_{task}_sample", model_args=arguments)
    assert server.seen == []


# ----------------------------------------------------------------------------- self-consistency


def test_votes_are_drawn_once(server: Server, tmp_path: Path) -> None:
    """Each vote is a request of its own; a stopped run keeps those that were drawn."""
    final = "Final answer: "

    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        if number == 8:
            return 401, {"error": "no such key"}
        return said(f"Hm.\n{final}{VALUE_NAMES[number % 2]}")

    server.answer = answer
    options: dict[str, Any] = {
        "use_cache": str(tmp_path / "cache"),
        "metadata": {"votes": 3},
        "model_args": {"num_concurrent": 1},
    }
    with pytest.raises(ValueEvalError, match="HTTP 401"):
        evaluate(server, "valueeval_cot_sample", **options)
    stopped = len(server.seen)
    server.answer = lambda number, messages: said(f"Hm.\n{final}{VALUE_NAMES[0]}")
    results = evaluate(server, "valueeval_cot_sample", **options)
    assert len(server.seen) - stopped == 3 * LIMIT - 8
    assert {payload["temperature"] for payload in server.payloads} == {0.7}
    samples = results["samples"]["valueeval_cot_sample"]
    texts = [text for sample in samples for text in sample["filtered_resps"][0]]
    assert texts[:8] == [f"Hm.\n{final}{VALUE_NAMES[number % 2]}" for number in range(8)]
    scored = results["results"]["valueeval_cot_sample"]
    assert isinstance(scored["macro_ap,none"], float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "name the model"),
        ({"base_url": "localhost:8000"}, "an http address is wanted"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "no server answers"),
        ({"base_url": "https://me:sk-secret@x.org/v1"}, "^((?!sk-secret).)*api_key_variable=NAME$"),
        ({"num_concurrent": 0}, "must be positive"),
        ({"num_concurrent": "many"}, "--model_args: invalid literal"),
        ({"modell": "x"}, "no argument 'modell'; did you mean model"),
        ({"guided": True}, "guided=True: name the field of requests .*: json_schema, "),
        ({"guided": "json"}, "guided=json: name the field"),
        ({"top_logprobs": 1}, "top_logprobs=1: at least 2 tokens"),
    ],
)
def test_wrong_arguments(server: Server, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        evaluate(server, "valueeval_mbc_sample", model_args={"max_retries": 0, **changes})
