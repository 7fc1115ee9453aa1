"""Base models on the hub: what is fetched, and why one cannot be."""

from __future__ import annotations

from pathlib import Path

from fake_hub import FakeHub

from valueeval.adapters.directory.base import fetch_base


def test_what_is_fetched_of_a_base(hub: FakeHub, tiny_bert: Path) -> None:
    """What its tokenizer reads comes along, chat template and BERTweet's merges; no code."""
    read = {"chat_template.jinja": b"{{ messages }}", "bpe.codes": b"a b 1"}
    hub.add("org/bert", tiny_bert, read | {"pytorch_model.bin": b"no", "modeling_bert.py": b"no"})
    names = {path.name for path in fetch_base("org/bert").path.iterdir()}
    assert names == {path.name for path in tiny_bert.iterdir()} | set(read)
