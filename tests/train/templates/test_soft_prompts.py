"""Soft prompts learn from the answers to a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import load_base
from template_runs import SOFT_PROMPTS, config_of, cue_of, in_training, plain_score
from training import (
    shorten_answers,
)

from valueeval.adapters.classifier.classifier import load_tokenizer
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.questions import load_task
from valueeval.tasks.values import VALUES
from valueeval.train.methods.peft import prompt_embedding
from valueeval.train.options import changed
from valueeval.train.run import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


def test_a_soft_prompt_learns_what_the_frozen_model_can_say(
    echo: Path, all_yes: Path, tmp_path: Path
) -> None:
    """From the cue for no, which it repeats where nothing is learnt, to yes."""
    config = cue_of(echo, all_yes, tmp_path / "begun", "no", template="bca", learning_rate=1e-9)
    assert train(config).validation["macro_f1"] == 0.0
    config = changed(config, output=str(tmp_path / "learnt"), epochs=8, learning_rate=0.3)
    assert train(config).validation["macro_f1"] == 1.0
    first, last = first_and_last_loss(tmp_path / "learnt")
    assert last < 0.5 * first


@pytest.mark.parametrize("method", SOFT_PROMPTS)
def test_the_loss_of_every_soft_prompt_falls(
    echo: Path, backend: str, all_yes: Path, tmp_path: Path, method: str
) -> None:
    """From random virtual tokens, which say neither yes nor no for sure."""
    # Seeds with which p-tuning does not say yes before it is trained.
    seed = {"causal": 1, "seq2seq": 0}[backend]
    options = {"seed": seed} if method == "p-tuning" else {"init": "random"}
    config = config_of(
        echo, all_yes, tmp_path / "a", template="bca", method=method, virtual_tokens=4,
        thresholds="half", **options,
    )  # fmt: skip
    manifest = train(changed(config, epochs=8, learning_rate=0.1 if method == "p-tuning" else 0.3))
    first, last = first_and_last_loss(tmp_path / "a")
    assert last < 0.5 * first
    assert manifest.validation["macro_f1"] == 1.0


def first_and_last_loss(folder: Path) -> tuple[float, float]:
    """Return the losses of a run's first and last epochs."""
    first, *_, last = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return json.loads(first)["loss"], json.loads(last)["loss"]


@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning"])
def test_initialisations_differ_and_begin_as_they_say(
    base: Path, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    """A soft prompt that starts from words is read like these words before the text.

    The text of the template is the instruction of the template that is asked.
    """
    if (backend, method) == ("seq2seq", "prefix-tuning"):
        pytest.skip("starts from random numbers alone, see the next test")
    tokenizer, plain = load_tokenizer(base), load_base(base, backend)
    words = plain.get_input_embeddings().weight.detach()
    task = load_task("cot", 1, "validation", str(data_dir))
    begun, said = {}, {}
    for init in ("random", "vocabulary", "template", "values", "some words"):
        config = config_of(base, data_dir, tmp_path / "x", template="cot", method=method, init=init)
        model, (lm, _), requests = in_training(config, data_dir)
        begun[init] = prompt_embedding(model.model).weight.detach()
        (one,) = [prompt.tokens for prompt in lm.fit(requests[0])]
        with torch.no_grad():
            said[init] = float(plain_score(model.model, backend, *one))
    kinds = list(begun.values())
    assert all(not torch.equal(a, b) for i, a in enumerate(kinds) for b in kinds[:i])

    def numbers(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    starts = {
        "template": words[numbers(task.config.description)[:20]],
        "values": torch.stack([words[numbers(value.short)].mean(dim=0) for value in VALUES]),
        "some words": words[(20 * numbers("some words"))[:20]],
    }
    for init, start in starts.items():
        assert said[init] == pytest.approx(said_after(plain, backend, start, *one), abs=1e-3)
    assert max(said[init] for init in starts) - min(said[init] for init in starts) > 1.0
    if method == "prompt-tuning":
        for init, start in starts.items():
            torch.testing.assert_close(begun[init], start)
        drawn = {init: (begun[init][:, None] == words).all(dim=2).any(dim=1) for init in begun}
        assert drawn["vocabulary"].all()
        assert not drawn["random"].any()


@torch.no_grad()
def said_after(
    model: Any, backend: str, start: torch.Tensor, before: list[int], asked: list[int]
) -> float:
    """Return `reference_score` with some embeddings before the text."""
    read = before if backend == "seq2seq" else (before + asked)[:-1]
    inputs = torch.cat([start, model.get_input_embeddings()(torch.tensor(read))])[None]
    more = {"labels": torch.tensor([asked])} if backend == "seq2seq" else {}
    logits = model(inputs_embeds=inputs, **more).logits[0, -len(asked) :]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(asked)[:, None]).sum())


def test_a_prefix_before_an_answer_is_not_made_of_words(
    tiny_t5: Path, data_dir: Path, tmp_path: Path
) -> None:
    options = {"template": "bca", "method": "prefix-tuning", "init": "values"}
    with pytest.raises(ValueEvalError, match="whose prefix stands before the answer"):
        train(config_of(tiny_t5, data_dir, tmp_path / "x", **options))
