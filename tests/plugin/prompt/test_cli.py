"""``valueeval prompt``: one command for one or two turns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ALL_NO, Server, said
from lm_eval.tasks import TaskManager
from tasks import FOLDER

from valueeval import cli
from valueeval.prompt.cli import build_parser, forms, turns
from valueeval.tasks.values import VALUE_NAMES

CHAT = ["--model", "valueeval_chat"]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def small_manager(include_path: object = None, **options: Any) -> TaskManager:
    """Our tasks alone: lm-eval's own take seconds to find."""
    return TaskManager(include_path=str(FOLDER), include_defaults=False, **options)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of the runs that were started; they run in this process."""
    started: list[list[str]] = []

    def call(words: list[str]) -> int:
        assert words[:3] == [sys.executable, "-m", "valueeval"]
        started.append(words[3:])
        return cli.main(words[3:])

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", small_manager)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    return started


def of(server: Server, *words: str) -> list[str]:
    arguments = f"model=some-model,base_url={server.url},num_concurrent=2,max_retries=0"
    return ["prompt", *CHAT, "--model_args", arguments, "--data", "sample", "--limit", "3", *words]


def results_of(folder: Path, task: str) -> dict[str, Any]:
    for path in folder.rglob("results_*.json"):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if task in content["results"]:
            return content
    raise AssertionError(f"no results of {task}")


def test_two_turns_and_a_third_task(server: Server, runs: list[list[str]], tmp_path: Path) -> None:
    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        reasons = len(messages) == 1 and "Final answer" in messages[-1]["content"]
        return said("They care.\nFinal answer: Tradition" if reasons else ALL_NO)

    server.answer = answer
    folder = tmp_path / "a [folder]"  # its name is no pattern
    words = of(server, "--template", "cot2list,mbc", "--output_path", str(folder))
    assert cli.main(words) == 0
    assert [run[2] for run in runs] == [
        "valueeval_mbc_sample,valueeval_cot_sample",
        "valueeval_cot2list_sample",
    ]
    for run in runs:
        assert {"--apply_chat_template", "--log_samples", "--limit"} <= set(run)
    assert len(server.seen) == 3 * 3
    assert [len(messages) for messages in server.seen[6:]] == [3, 3, 3]
    scored = results_of(folder, "valueeval_cot2list_sample")
    assert scored["results"]["valueeval_cot2list_sample"]["unparsed,none"] == 0
    first = scored["configs"]["valueeval_cot2list_sample"]["metadata"]["first_turn"]
    assert first["model"] == "some-model"

    # Once more into the same folder: the new samples are asked about, not the old ones.
    assert cli.main(of(server, "--template", "cot2list", "--output_path", str(folder))) == 0
    assert len(server.seen) == 9 + 6
    # … or those that are named.
    (_, newest) = sorted(folder.rglob("samples_valueeval_cot_sample_*.jsonl"))
    replies = ["--replies", str(newest).replace("[", "[[]")]
    more = of(server, "--template", "cot2list", "--output_path", str(tmp_path / "b"), *replies)
    assert cli.main(more) == 0
    assert len(server.seen) == 15 + 3
    # … beside a template that has no second turn.
    more = of(server, "--template", "mbc,cot2list", "--output_path", str(tmp_path / "c"), *replies)
    assert cli.main(more) == 0
    assert len(server.seen) == 18 + 3 + 3


def test_votes(server: Server, runs: list[list[str]], tmp_path: Path) -> None:
    def answer(number: int, messages: list[dict[str, str]]) -> tuple[int, dict[str, Any]]:
        return said(ALL_NO if len(messages) == 3 else f"Hm.\nFinal answer: {VALUE_NAMES[0]}")

    server.answer = answer
    words = of(server, "--template", "cot,cot2list", "--votes", "2", "--metadata", '{"a": 1}')
    assert cli.main([*words, "--output_path", str(tmp_path)]) == 0
    assert len(server.seen) == 3 * 2 + 3  # two votes each; equal replies are asked about once
    for task in ("valueeval_cot_sample", "valueeval_cot2list_sample"):
        content = results_of(tmp_path, task)
        metadata = content["configs"][task]["metadata"]
        assert (metadata["votes"], metadata["a"]) == (2, 1)
        assert isinstance(content["results"][task]["macro_ap,none"], float)


def test_the_first_turn_fails(
    server: Server, runs: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda number, messages: (401, {"error": "no such key"})
    words = of(server, "--template", "cot2list", "--output_path", str(tmp_path))
    assert cli.main(words) == 2
    assert len(runs) == 1
    shown = capsys.readouterr().err
    assert "$ valueeval run --tasks valueeval_cot_sample" in shown
    assert "the key is missing or wrong: no such key" in shown


def of_local(model: str, template: str, base: Path, folder: Path, *words: str) -> list[str]:
    return [
        *("prompt", "--template", template, "--data", "sample", "--limit", "1", "--device", "cpu"),
        *("--model", model, "--model_args", f"pretrained={base}", "--output_path", str(folder)),
        *("--gen_kwargs", "max_gen_toks=4", *words),
    ]


@pytest.mark.parametrize(
    ("model", "template", "votes"),
    [("hf", "cot2list", []), ("valueeval", "cot2", ["--votes", "2"])],
)
def test_a_local_model(
    tiny_gpt2: Path,
    runs: list[list[str]],
    tmp_path: Path,
    model: str,
    template: str,
    votes: list[str],
) -> None:
    assert cli.main(of_local(model, template, tiny_gpt2, tmp_path, *votes)) == 0
    task = f"valueeval_{template}_sample"
    content = results_of(tmp_path, task)
    assert content["config"]["model"] == model
    assert content["n-samples"][task]["effective"] == 1
    metadata = content["configs"][task]["metadata"]
    assert metadata.get("votes") == (2 if votes else None)
    assert metadata["first_turn"]["model"] == str(tiny_gpt2)


@pytest.mark.slow
def test_runs_are_processes_of_their_own(tiny_gpt2: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "valueeval", *of_local("hf", "cot2list", tiny_gpt2, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert results_of(tmp_path, "valueeval_cot2list_sample")["config"]["model"] == "hf"


@pytest.mark.parametrize(
    ("template", "first", "second"),
    [
        ("bca", ["bca"], []),
        ("cot", ["cot"], []),
        ("cot2", ["cot"], ["cot2"]),
        ("cot2,cot2list,cot", ["cot"], ["cot2", "cot2list"]),
        ("mbc,cot2,mbc", ["mbc", "cot"], ["cot2"]),
    ],
)
def test_turns(template: str, first: list[str], second: list[str]) -> None:
    assert turns(build_parser().parse_args(["--template", template])) == (first, second)
    replies = build_parser().parse_args(["--template", template, "--replies", "x"])
    assert turns(replies)[0] == [name for name in first if name in template.split(",")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name a --template: cls, mbc"),
        (["--template", "cot3"], "--template: 'cot3'; allowed: cls, mbc, bca, oa, cot, cot2, cot"),
        (["--template", "bca", "--limmit", "3"], "no option --limmit"),
        (["--template", "bca", "--tasks", "x"], "--tasks: --template, --paraphrase, --data"),
        (["--template", "bca", "--set", "test"], "--set: 'test'; allowed: main, validation"),
        (["--template", "bca", "--data", "sample", "--set", "nyt"], "--set nyt: --data sample has"),
        (["--template", "bca", "--output_path", "x.json"], "--output_path x.json: name a folder"),
        (["--template", "cot2", "--num_fewshot", "2"], "--num_fewshot: cot2 has no few-shot"),
        (["--template", "bca", "--replies", "x"], "--replies goes with --template cot2 or cot2lis"),
        (["--template", "cot,cot2", "--replies", "x"], "--replies: in place of a first turn; lea"),
        (["--template", "cot", "--votes", "0"], "--votes 0: at least 1"),
        (["--template", "cot,bca", "--votes", "3"], "--votes: bca takes none"),
        (["--template", "cot2", "--votes", "3", "--replies", "x"], "--votes: as many as --replies"),
        (["--template", "cot", "--prices", "x"], "--prices goes with --estimate"),
        (["--template", "cot", "--metadata", "votes=3"], "--metadata votes: say --votes"),
    ],
)
def test_refusals_are_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["prompt", *words])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"valueeval prompt: {told}")
    assert shown.count("\n") == 1


def test_forms_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prompt", "--print_form", "mbc"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == forms("mbc")
    assert len(printed["json_schema"]["properties"]) == 20
    assert printed["regex"].startswith("1\\. ")
    assert list(forms("oa")) == list(VALUE_NAMES)
