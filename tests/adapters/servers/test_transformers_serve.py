"""``--model valueeval_chat`` and lm-eval's own against a real server: ``transformers serve``."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from tasks import FOLDER
from transformers import AutoTokenizer

from valueeval.registration import register
from valueeval.tasks.errors import ValueEvalError

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LIMIT = 2


@pytest.fixture(scope="module")
def chat_model(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a chat template."""
    folder = tmp_path_factory.mktemp("served") / "tiny-chat"
    shutil.copytree(tiny_gpt2, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server's chat completions; it runs while the tests of this file do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", chat_model, *place],
            stdout=file,
            stderr=file,
        )
    try:
        deadline = time.monotonic() + 300
        while not is_up(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        server.terminate()
        server.wait(30)


def is_up(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(model: str, arguments: dict[str, Any], *tasks: str) -> dict[str, Any]:
    register()
    return simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=[f"valueeval_{task}_sample" for task in tasks],
        limit=LIMIT,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 12},
        task_manager=TaskManager(include_path=str(FOLDER), include_defaults=False),
        device="cpu",
    )


def texts(results: dict[str, Any], task: str) -> list[Any]:
    samples = results["samples"][f"valueeval_{task}_sample"]
    # An answer of nothing but blanks is none for our model.
    return [[text.strip() for text in sample["filtered_resps"]] for sample in samples]


def test_a_server_says_what_the_model_says(url: str, chat_model: Path) -> None:
    tasks = ("mbc", "cot")
    served = evaluate("valueeval_chat", {"model": str(chat_model), "base_url": url}, *tasks)
    assert served["config"]["failed_requests"] == []
    local = evaluate("hf", {"pretrained": str(chat_model)}, *tasks)
    for task in tasks:
        assert texts(served, task) == texts(local, task)
        assert any(text[0] for text in texts(served, task))


def test_lm_evals_own_chat_model(url: str, chat_model: Path) -> None:
    """``local-chat-completions`` asks the templates that generate."""
    arguments = {
        "model": str(chat_model), "base_url": url, "tokenizer_backend": None, "num_concurrent": 2,
    }  # fmt: skip
    tasks = ("mbc", "cot")
    theirs = evaluate("local-chat-completions", arguments, *tasks)
    ours = evaluate("valueeval_chat", {"model": str(chat_model), "base_url": url}, *tasks)
    for task in tasks:
        assert texts(theirs, task) == texts(ours, task)


def test_it_takes_no_forms_and_tells_no_log_probabilities(url: str, chat_model: Path) -> None:
    arguments = {"model": str(chat_model), "base_url": url}
    with pytest.raises(ValueEvalError, match=r"ignores it|does not take guided=json_schema"):
        evaluate("valueeval_chat", {**arguments, "guided": "json_schema"}, "oa")
    with pytest.raises(ValueEvalError, match="does not take guided=structured_outputs: HTTP 422"):
        evaluate("valueeval_chat", {**arguments, "guided": "structured_outputs"}, "mbc")
    with pytest.raises(ValueEvalError, match=r"tells no log-prob|does not take top_logprobs=5"):
        evaluate("valueeval_chat", {**arguments, "top_logprobs": 5}, "bca")
