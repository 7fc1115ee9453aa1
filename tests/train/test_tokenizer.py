"""Base models without a tokenizer, or with one that cannot be read here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from valueeval.adapters.classifier import backbones
from valueeval.adapters.classifier.backbones import load_tokenizer
from valueeval.tasks.errors import ValueEvalError


def folder_of(tmp_path: Path, family: str) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}), "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "family", ["bert", "electra", "roberta", "xlm-roberta", "gpt2", "qwen2", "t5", "deberta-v2"]
)
def test_a_tokenizer_that_transformers_makes_from_nothing_is_refused(
    tmp_path: Path, family: str
) -> None:
    with pytest.raises(ValueEvalError, match=r"knows no words .*tokenizer\.json, vocab\.txt"):
        load_tokenizer(folder_of(tmp_path, family))


@pytest.mark.parametrize(
    ("family", "file"),
    [("t5", "spiece.model"), ("deberta-v2", "spm.model"), ("llama", "tokenizer.model")],
)
def test_sentencepiece_alone_says_what_to_install(
    tmp_path: Path, family: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, family)
    (folder / file).write_bytes(b"not a SentencePiece model, which nothing here would read")
    monkeypatch.setattr(backbones, "_installed", lambda module: False)
    with pytest.raises(ValueEvalError) as caught:
        load_tokenizer(folder)
    assert f"({file}), which takes more than is installed" in str(caught.value)
    assert "pip install sentencepiece protobuf" in str(caught.value)
    assert "tiktoken" not in str(caught.value)


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "bert")
    (folder / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(ValueEvalError, match="its tokenizer cannot be read"):
        load_tokenizer(folder)


def test_what_is_installed() -> None:
    assert backbones._installed("torch")
    assert not backbones._installed("no_such_package_at_all")
    assert not backbones._installed("no_such_package_at_all.part")
