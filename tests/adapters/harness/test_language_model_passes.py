"""--model valueeval reads each input once, and the instruction once per run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import request

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import SharedPrefix

INSTRUCTION = "Does this argument rest on the value of having ideas and interests of one's own? "
ARGUMENTS = 20  # more than two chunks on the CPU


def scoring(document: int) -> list[Any]:
    """Two questions about an argument, two answers to each."""
    about = f"{INSTRUCTION}{chr(65 + document)} people who live there\n"
    return [
        request("loglikelihood", (f"{about}{question}?", answer), document)
        for question in ("Nature", "Power")
        for answer in (" yes", " no")
    ]


def generating(document: int) -> list[Any]:
    about = f"{INSTRUCTION}{chr(65 + document)} people who live there\n"
    settings = {"until": [], "max_gen_toks": 2, "do_sample": False}
    return [request("generate_until", (f"{about}{q}:", dict(settings)), document) for q in "ab"]


@pytest.mark.parametrize(
    ("kind", "asked"), [("loglikelihood", scoring), ("generate_until", generating)]
)
def test_the_instruction_is_read_once_a_run(
    tiny_gpt2: Path, kind: str, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModelLM(str(tiny_gpt2), batch_size=4, device="cpu")
    prefixes: list[tuple[int, ...]] = []
    read = TreeAttentionScorer.read_prefix

    def noted(self: TreeAttentionScorer, tokens: Any) -> SharedPrefix:
        prefixes.append(tuple(tokens))
        return read(self, tokens)

    monkeypatch.setattr(TreeAttentionScorer, "read_prefix", noted)
    rows: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, kwargs: rows.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    requests = [one for document in range(ARGUMENTS) for one in asked(document)]
    getattr(model, kind)(requests, disable_tqdm=True)
    (prefix,) = prefixes
    assert model.tok_decode(list(prefix)) == INSTRUCTION
    # The prefix, and trees that are much shorter.
    assert rows[0] == len(prefix)
    assert max(rows[1:]) < len(prefix)


@pytest.mark.parametrize(
    ("kind", "asked"), [("loglikelihood", scoring), ("generate_until", generating)]
)
def test_an_encoder_reads_each_input_once(tiny_t5: Path, kind: str, asked: Any) -> None:
    model = LanguageModelLM(str(tiny_t5), batch_size=4, device="cpu")
    read: list[tuple[int, ...]] = []

    def note(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        for tokens, mask in zip(kwargs["input_ids"], kwargs["attention_mask"], strict=True):
            read.append(tuple(tokens[mask.to(torch.bool)].tolist()))

    model.model.get_encoder().register_forward_pre_hook(note, with_kwargs=True)
    requests = [one for document in range(ARGUMENTS) for one in asked(document)]
    getattr(model, kind)(requests, disable_tqdm=True)
    inputs = {one.args[0] for one in requests}
    assert len(read) == len(set(read)) == len(inputs) == 2 * ARGUMENTS
