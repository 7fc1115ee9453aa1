"""Random models of real sizes, made on the spot: no hub, no network.

Speed and memory do not depend on what weights say. The tokenizer is a byte-level BPE trained on the
texts of the package (sample set, value definitions); the model's vocabulary has the real size, most
of which this tokenizer never uses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

GPT2_VOCABULARY = 50257
# Layers, width, heads.
SIZES = {"tiny": (2, 64, 2), "124M": (12, 768, 12), "350M": (24, 1024, 16), "1B": (24, 1792, 14)}
_BPE_TOKENS = 8000


def write_model(folder: Path, shape: str, size: str) -> Path:
    """A model and its tokenizer, in a folder that is made once.

    Args:
        folder: Where models are kept.
        shape: ``gpt2``, ``llama`` or ``t5``.
        size: A key of ``SIZES``.
    """
    target = folder / f"{shape}-{size}"
    if (target / "model.safetensors").is_file():
        return target
    _tokenizer().save_pretrained(target)
    torch.manual_seed(0)
    model = _model(shape, *SIZES[size])
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than at the start of training, so that answers differ from one another.
            if parameter.dim() > 1:
                parameter.mul_(2)
    model.save_pretrained(target)
    return target


def _tokenizer() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    from valueeval.tasks.data.dataset import load_set
    from valueeval.tasks.values import VALUES

    texts = [f"{value.short}. {value.long}. Yes No yes no" for value in VALUES]
    for split in ("sample_training", "sample_validation", "sample"):
        texts += [f"{a.premise} {a.conclusion} {a.stance}" for a in load_set(split).arguments]
    bpe = ByteLevelBPETokenizer()
    special = {"pad_token": "<pad>", "eos_token": "<|endoftext|>"}
    bpe.train_from_iterator(
        texts, vocab_size=_BPE_TOKENS, min_frequency=1, special_tokens=list(special.values())
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **special)


def _model(shape: str, layers: int, width: int, heads: int) -> Any:
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    common = {"vocab_size": GPT2_VOCABULARY, "eos_token_id": 1, "pad_token_id": 0}
    if shape == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(n_embd=width, n_layer=layers, n_head=heads, bos_token_id=1, **common)
        )
    if shape == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                hidden_size=width, intermediate_size=8 * width // 3, num_hidden_layers=layers,
                num_attention_heads=heads, tie_word_embeddings=True, bos_token_id=1, **common,
            )
        )  # fmt: skip
    return T5ForConditionalGeneration(
        T5Config(
            d_model=width, d_kv=width // heads, d_ff=4 * width, num_layers=layers // 2,
            num_heads=heads, decoder_start_token_id=0, **common,
        )
    )  # fmt: skip


def write_classifier(folder: Path, base: str) -> Path:
    """An adapter directory: an encoder (a name or a folder) with a random head, made once."""
    from valueeval.adapters.classifier.classifier import (
        ValueClassifier,
        load_backbone,
        load_tokenizer,
    )
    from valueeval.adapters.directory.base import fetch_base
    from valueeval.adapters.directory.manifest import manifest_from_json
    from valueeval.adapters.directory.manifest_file import (
        combined_hash,
        describe_files,
        write_manifest,
    )
    from valueeval.tasks.values import VALUE_NAMES

    target = folder / f"classifier-{Path(base).name}"
    if (target / "valueeval.json").is_file():
        return target
    target.mkdir(parents=True, exist_ok=True)
    source = fetch_base(base)
    torch.manual_seed(0)
    model = ValueClassifier(load_backbone(source.path), "mean")
    model.save(target)
    load_tokenizer(source.path).save_pretrained(target)
    files = describe_files(target)
    size = sum(parameter.numel() for parameter in model.parameters())
    content = {
        "schema_version": 1, "template": None, "head": {"kind": "linear", "pooling": "mean"},
        "input": {"segments": ["{premise}", "{stance_word}: {conclusion}"], "max_length": 128},
        "labels": list(VALUE_NAMES), "method": "full", "objective": "bce", "seed": 0,
        "base_model": {"name": base, "revision": None, "sha256": source.sha256},
        "thresholds": {"values": [0.5] * 20, "split": "none", "metric": "macro_f1"},
        "parameters": {"total": size, "trainable": size},
        "data": {"name": "none", "set": "none", "size": 0, "sha256": ""}, "config": {},
        "validation": {}, "versions": {}, "seconds": 0.0, "peak_memory_bytes": 0,
        "date": "2026-01-01T00:00:00+00:00",
        "files": {name: vars(info) for name, info in files.items()},
        "weights_sha256": combined_hash(files),
    }  # fmt: skip
    write_manifest(target, manifest_from_json(json.loads(json.dumps(content))))
    return target
