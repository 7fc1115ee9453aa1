"""Small data and small encoders for training in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from valueeval.tasks.data import load_set


def write_small_data(folder: Path, training: int, validation: int) -> Path:
    """The beginning of the sample set, as a folder of one's own in the official format."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (("training", training), ("validation", validation)):
        for kind in ("arguments", "labels"):
            source = load_set("sample").directory / f"{kind}-sample-{split}.tsv"
            lines = source.read_text("utf-8").splitlines(keepends=True)[: 1 + size]
            (folder / f"{kind}-{split}.tsv").write_text("".join(lines), "utf-8")
    return folder


# A tiny one of every family: width 32, two layers.
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "mpnet": {},
    "modernbert": {"global_attn_every_n_layers": 2},
}


def write_encoder(folder: Path, family: str, tokenizer: Path) -> Path:
    """Writes a random encoder of one family, with the tokenizer of another model."""
    config = AutoConfig.for_model(
        family,
        vocab_size=512,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=520,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=1,
        cls_token_id=0,
        sep_token_id=1,
        **ENCODERS[family],
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder
