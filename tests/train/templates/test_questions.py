"""The questions and right answers that training makes of a template."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from language_models import task_manager
from template_runs import config_of
from training import shorten_answers
from transformers import AutoTokenizer

from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.templates.decide import decide
from valueeval.train import cli
from valueeval.train.run import train
from valueeval.train.templates import language_model
from valueeval.train.templates.questions import answered

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


def test_right_answers_end_and_hold_no_label_of_the_document(
    tiny_gpt2: Path, data_dir: Path
) -> None:
    task = load_task("cot", 1, "validation", str(data_dir))
    data = load_set("validation", data_dir)
    (request,) = answered(task, questions(task, data.arguments)[0], data.labels[0], "<end>")
    assert request.args[1].endswith("<end>")
    assert "labels" not in request.doc
    named = decide("cot", [request.args[1].removesuffix("<end>")]).prediction
    assert named == tuple(data.labels[0].tolist())


def test_a_paraphrase_that_is_not_there(tiny_gpt2: Path, data_dir: Path, tmp_path: Path) -> None:
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "x", template="bca", method="lora", paraphrase=9
    )
    with pytest.raises(ValueEvalError, match="paraphrase: 9; allowed: 1 to 3"):
        train(config)


CHAT = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture
def chat_model(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A language model whose tokenizer has a chat template."""
    folder = tmp_path / "chat-model"
    shutil.copytree(tiny_gpt2, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


def evaluated(folder: Path, chat: bool, **arguments: Any) -> Any:
    return lm_eval.simple_evaluate(
        model="valueeval", model_args={"adapter": str(folder), **arguments},
        tasks=["valueeval_bca_sample"], limit=1, device="cpu", bootstrap_iters=0,
        task_manager=task_manager(), apply_chat_template=chat,
    )  # fmt: skip


def test_chats_are_trained_on_the_prompts_that_are_evaluated(
    chat_model: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts of training are those of --apply_chat_template, and no others are asked."""
    read: list[str] = []
    asked = language_model.questions

    def noting(*arguments: Any) -> Any:
        found = asked(*arguments)
        read.extend(request.args[0] for requests in found for request in requests)
        return found

    monkeypatch.setattr(language_model, "questions", noting)
    config = config_of(
        chat_model, data_dir, tmp_path / "a", template="bca", method="lora", chat_template=True
    )
    train(config)
    manifest = read_manifest(tmp_path / "a")
    assert manifest.config["chat_template"] is True
    assert manifest.wording == "chat"
    assert "--apply_chat_template" in cli.summary(config, manifest)
    assert " --apply_chat_template\n" in (tmp_path / "a" / "README.md").read_text()

    results = evaluated(tmp_path / "a", chat=True)
    (sample,) = results["samples"]["valueeval_bca_sample"]
    evaluated_on = sample["arguments"][0][0]
    (first,) = load_set("sample").arguments[:1]
    assert evaluated_on.startswith("[user] ")
    assert evaluated_on.endswith("[assistant] ")
    task = load_task("bca", 1)
    lm = language_model.LanguageModelLM(str(chat_model), device="cpu")
    (requests,) = questions(task, [first], lm.apply_chat_template)
    assert requests[0].args[0] == evaluated_on
    assert all(prompt.startswith("[user] ") for prompt in read)

    with pytest.raises(ValueEvalError, match="trained on chat prompts: run it with --apply_chat"):
        evaluated(tmp_path / "a", chat=False)
    evaluated(tmp_path / "a", chat=False, other_wording=True)
    with pytest.raises(ValueEvalError, match=r"leave out .* template \(enable_thinking=False\)"):
        evaluated(tmp_path / "a", chat=True, enable_thinking=False)
    evaluated(tmp_path / "a", chat=True, enable_thinking=False, other_wording=True)


def test_plain_training_is_not_evaluated_as_a_chat(
    chat_model: Path, data_dir: Path, tmp_path: Path
) -> None:
    train(config_of(chat_model, data_dir, tmp_path / "a", template="bca", method="lora"))
    assert "chat_template" not in read_manifest(tmp_path / "a").config
    with pytest.raises(ValueEvalError, match="trained on plain prompts: run it without --apply"):
        evaluated(tmp_path / "a", chat=True)


def test_a_base_without_a_chat_template(tiny_gpt2: Path, data_dir: Path, tmp_path: Path) -> None:
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "x", template="bca", method="lora", chat_template=True
    )
    with pytest.raises(ValueEvalError, match="tokenizer has no chat template"):
        train(config)


@pytest.mark.parametrize("template", ["mbc", "oa"])
def test_right_answers_begin_the_turn_of_a_chat(
    chat_model: Path, data_dir: Path, template: str
) -> None:
    task, data = load_task(template, 1), load_set("validation", data_dir)
    lm = language_model.LanguageModelLM(str(chat_model), device="cpu")
    (requests,) = questions(task, data.arguments[:1], lm.apply_chat_template)
    (plain,) = questions(task, data.arguments[:1])
    said = answered(task, requests, data.labels[0], "<end>")[0].args[1]
    assert said == answered(task, plain, data.labels[0], "<end>")[0].args[1].lstrip()
