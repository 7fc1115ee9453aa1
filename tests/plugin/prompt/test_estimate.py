"""``valueeval prompt --estimate`` counts what a run sends, before anything is sent."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from chat_server import ALL_NO, Server, likeliest, said
from lm_eval.tasks import TaskManager
from tasks import FOLDER

from valueeval import cli

NOWHERE = "http://127.0.0.1:9/v1/chat/completions"
CHAT = ["prompt", "--model", "valueeval_chat", "--data", "sample", "--limit", "3"]


def counted(shown: str, task: str) -> list[int]:
    """The numbers of a task's row."""
    (row,) = [line for line in shown.splitlines() if line.startswith(f"{task} ")]
    return [int(cell.replace(",", "")) for cell in row.removeprefix(task).split()]


def test_what_is_counted_is_what_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests, characters of prompts and limits, as a real run of the same words sends them."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setattr("subprocess.call", lambda words: cli.main(words[3:]))
    monkeypatch.setattr(
        "lm_eval.tasks.TaskManager",
        lambda include_path=None, metadata=None, **_: TaskManager(
            include_path=str(FOLDER), include_defaults=False, metadata=metadata
        ),
    )
    server = Server()
    server.answer = lambda number, messages: (
        likeliest(("yes", -0.1), ("no", -3.0)) if "logprobs" in server.payloads[number]
        else said(ALL_NO)
    )  # fmt: skip
    words = ["--model_args", f"model=m,base_url={server.url},top_logprobs=5,num_concurrent=1",
             "--template", "bca,mbc,oa", "--num_fewshot", "2"]  # fmt: skip
    assert cli.main([*CHAT, *words, "--estimate"]) == 0
    shown = capsys.readouterr().out
    assert server.seen == []
    assert "m: nothing was sent." in shown
    assert "a rough guess: name a --tokenizer" in shown
    assert cli.main([*CHAT, *words, "--output_path", str(tmp_path)]) == 0
    server.close()
    tokens = [
        math.ceil(len("\n".join(message["content"] for message in messages)) / 4)
        for messages in server.seen
    ]
    limits = [payload["max_tokens"] for payload in server.payloads]
    assert counted(shown, "in all") == [len(server.seen), sum(tokens), sum(limits)]
    assert counted(shown, "valueeval_bca_sample")[:2] == [3, 60]
    assert counted(shown, "valueeval_bca_sample")[3] == 60
    assert counted(shown, "valueeval_mbc_sample")[::3] == [3, 600]
    assert counted(shown, "valueeval_oa_sample")[1::2] == [60, 960]


def test_two_turns_with_votes_and_a_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: USD\nm: {input: 2, output: 10.5}\n")
    words = ["--model_args", f"model=m,base_url={NOWHERE}", "--template", "cot2list", "--votes",
             "2", "--estimate", "--prices", str(prices)]  # fmt: skip
    assert cli.main([*CHAT, *words]) == 0
    shown = capsys.readouterr().out
    first = counted(shown, "valueeval_cot_sample")
    second = counted(shown, "valueeval_cot2list_sample")
    assert first[:2] == second[:2] == [3, 6]
    assert (first[3], second[3]) == (6 * 512, 6 * 200)
    assert second[2] > first[2] + 6 * 512  # each prompt holds a reply as long as it may be
    cost = ((first[2] + second[2]) * 2 + (first[3] + second[3]) * 10.5) / 1e6
    assert f"Cost at most {cost:.2f} USD." in shown
    assert "replies as long as they may be" in shown


def test_a_local_model_counts_with_its_own_tokenizer(
    tiny_gpt2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prompt", "--model", "hf", "--model_args", f"pretrained={tiny_gpt2}", "--data",
             "sample", "--limit", "2", "--template", "bca", "--estimate"]  # fmt: skip
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    arguments, requests, tokens, output = counted(shown, "valueeval_bca_sample")
    assert (arguments, requests, output) == (2, 40, 0)
    assert tokens > requests
    assert f"those of the tokenizer {tiny_gpt2}" in shown


def test_lm_evals_own_server_models_have_a_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("org/m: {input: 1, output: 1}\n")
    words = ["prompt", "--model", "local-completions", "--model_args",
             f"model=org/m,base_url={NOWHERE}", "--data", "sample", "--limit", "1", "--template",
             "mbc", "--estimate", "--prices", str(prices)]  # fmt: skip
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "org/m: nothing was sent." in shown
    assert "Cost at most" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--template", "cls"], "cls_sample needs log-likelihoods of texts of several tokens"),
        (["--template", "bca"], "bca_sample needs log-likelihoods, which chat servers"),
        (["--template", "mbc", "--tokenizer", "/nowhere"], "the tokenizer /nowhere cannot be load"),
        (["--template", "mbc", "--prices", "/nowhere"], "/nowhere: cannot be read (No such file"),
    ],
)
def test_refusals(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*CHAT, "--model_args", f"model=m,base_url={NOWHERE}", *words, "--estimate"]
    assert cli.main(given) == 2
    assert told in capsys.readouterr().err


def test_a_chat_needs_a_template_to_count(
    tiny_gpt2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prompt", "--model", "hf", "--model_args", f"pretrained={tiny_gpt2}", "--data",
             "sample", "--template", "mbc", "--estimate", "--apply_chat_template"]  # fmt: skip
    assert cli.main(words) == 2
    assert "a tokenizer with a chat template is needed" in capsys.readouterr().err
