"""Prompts that are too long: what is trained on is what an evaluation will ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from training import write_small_data

from valueeval.adapters.classifier.backbones import load_tokenizer
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.types import EncodedPair
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.train.options import configure
from valueeval.train.templates.language_model import (
    build_language_model,
    harness_model,
    questions_of,
)

ROOM = 512  # tokens of an answer to valueeval_cot


def lengthen_first_premise(data_dir: Path, by: str) -> None:
    path = data_dir / "arguments-validation.tsv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0], lines[1] + by, *lines[2:]]) + "\n", "utf-8")


def read_in_evaluation(
    lm: LanguageModelLM, requests: list[Any], monkeypatch: pytest.MonkeyPatch
) -> list[list[int]]:
    """The prompts that the model is given, of all requests about one argument after the other."""
    read: list[list[int]] = []

    def generate(
        reader: CausalReader, family: str, documents: Sequence[Sequence[list[int]]], *_: Any
    ) -> list[list[list[int]]]:
        read.extend(prompt for document in documents for prompt in document)
        return [[[1] for _ in document] for document in documents]

    def score(
        reader: CausalReader, family: str, documents: Sequence[Sequence[EncodedPair]]
    ) -> list[list[tuple[float, bool]]]:
        read.extend(one.context for document in documents for one in document)
        return [[(0.0, False) for _ in document] for document in documents]

    monkeypatch.setattr(CausalReader, "generate", generate)
    monkeypatch.setattr(CausalReader, "score", score)
    ask: Any = lm.generate_until
    if requests[0].request_type == "loglikelihood":
        ask = lm.loglikelihood
    ask(requests, disable_tqdm=True)
    return read


@pytest.mark.parametrize(("template", "room"), [("cot", ROOM), ("bca", 3)])
def test_training_cuts_where_evaluation_cuts(
    template: str,
    room: int,
    tiny_gpt2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data_dir = write_small_data(tmp_path / "data", 2, 2)
    lengthen_first_premise(data_dir, " and so on" * 200)
    config = configure(str(tmp_path / "x"), base=str(tiny_gpt2), template=template, method="lora")
    base = fetch_base(config.base)
    network = build_language_model(config, base, "", torch.device("cpu"))
    lm = harness_model(network.eval(), load_tokenizer(base.path))
    task = load_task(template, 1, "validation", str(data_dir))
    data = load_set("validation", data_dir)
    asked = questions(task, data.arguments)
    whole = [[lm.tok_encode(one.args[0]) for one in requests] for requests in asked]
    lm._max_length = max(map(len, whole[1])) + room  # what the second argument needs

    trained = questions_of(lm, task, data, config).asked
    said = capfd.readouterr().err
    assert f"validation: 1 of 2 arguments are longer than the {lm.max_length} tokens" in said
    flat = [request for requests in asked for request in requests]
    evaluated = read_in_evaluation(lm, flat, monkeypatch)
    assert [one.context for document in trained for one in document.own] == evaluated
    assert [one.context for one in trained[1].own] == whole[1]
    for one, uncut in zip(trained[0].own, whole[0], strict=True):
        assert len(one.context) < len(uncut)
        assert one.context[:40] == uncut[:40]  # the instruction
        assert one.context[-20:] == uncut[-20:]  # the question
    longest = max(len(one.context) for one in trained[0].own) + room
    assert lm.max_length - 10 < longest <= lm.max_length + 1  # no more was cut than a word
