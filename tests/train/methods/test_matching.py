"""``--trainable_parameters``: the size that comes nearest, on heads and on language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from valueeval.adapters.directory.base import Base
from valueeval.train.config.choice import ConfigError
from valueeval.train.methods.matching import matched
from valueeval.train.options import configure

METHODS = ("lora", "prompt-tuning", "p-tuning", "prefix-tuning")


def trained(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_size_comes_nearest(method: str, kind: str, tiny_bert: Path, tiny_gpt2: Path) -> None:
    """No other size trains a number of parameters that is nearer."""
    folder = tiny_bert if kind == "encoder" else tiny_gpt2
    loaded = AutoModel if kind == "encoder" else AutoModelForCausalLM
    options = {} if kind == "encoder" else {"template": "bca"}
    choice = configure("out", method=method, base=str(folder), **options).method
    base = resolve(folder)
    wanted = trained(choice.prepare(loaded.from_pretrained(folder), base, "words")) * 2
    found, bare = matched(choice, loaded.from_pretrained(folder), base, "words", wanted)
    size = getattr(found, str(found.sized_by))
    counts = {}
    for each in (size - 1, size, size + 1):
        changed = configure("out", method=method, base=str(folder), **options,
                            **{flag(method): each}).method  # fmt: skip
        counts[each] = trained(changed.prepare(loaded.from_pretrained(folder), base, "words"))
    assert min(counts, key=lambda each: abs(counts[each] - wanted)) == size
    assert trained(found.prepare(bare, base, "words")) == counts[size]


def test_the_weights_stay(tiny_bert: Path) -> None:
    choice = configure("out", method="lora", base=str(tiny_bert)).method
    before = AutoModel.from_pretrained(tiny_bert)
    _, after = matched(choice, AutoModel.from_pretrained(tiny_bert), resolve(tiny_bert), "", 1000)
    assert list(before.state_dict()) == list(after.state_dict())
    assert all(map(torch.equal, before.state_dict().values(), after.state_dict().values()))


def test_too_few_are_refused(tiny_bert: Path) -> None:
    choice = configure("out", method="lora", base=str(tiny_bert)).method
    with pytest.raises(ConfigError, match="trainable_parameters: 1: --method lora trains"):
        matched(choice, AutoModel.from_pretrained(tiny_bert), resolve(tiny_bert), "", 1)


def test_a_method_without_a_size() -> None:
    with pytest.raises(ConfigError, match="--method full has no size to choose"):
        configure("out", method="full", trainable_parameters=1000)


def test_the_recipe_names_the_number_instead_of_the_size() -> None:
    recipe = configure("out", method="lora", trainable_parameters=1000).recipe()
    assert recipe["trainable_parameters"] == 1000
    assert "lora_rank" not in recipe
    assert "lora_rank" in configure("out", method="lora").recipe()


def resolve(folder: Path) -> Base:
    return Base(str(folder), folder, None, "")


def flag(method: str) -> str:
    return "lora_rank" if method == "lora" else "virtual_tokens"
