"""A tiny language model and a few arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from template_runs import echoing_gpt2, echoing_t5
from training import (
    write_small_data,
)

from valueeval.adapters.classifier.classifier import load_tokenizer


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), 4, 3)


@pytest.fixture(scope="module")
def base(lively: Path) -> Path:
    return lively


@pytest.fixture(scope="module")
def all_yes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data; every argument has every value."""
    data = write_small_data(tmp_path_factory.mktemp("all-yes"), 4, 2)
    for split in ("training", "validation"):
        path = data / f"labels-{split}.tsv"
        header, *rows = path.read_text("utf-8").splitlines()
        ones = [row.split("\t")[0] + "\t1" * 20 for row in rows]
        path.write_text("\n".join([header, *ones]) + "\n", "utf-8")
    return data


@pytest.fixture(scope="module")
def echo(backend: str, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says yes, again and again, or no, as a cue before the text tells it."""
    tokenizer = load_tokenizer(tiny_gpt2)
    tokenizer.add_tokens([" yes", " no"])
    model = echoing_t5(tokenizer) if backend == "seq2seq" else echoing_gpt2(tokenizer)
    folder = tmp_path_factory.mktemp("echo")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
